-- Exponential with full jitter: random between nothing and base * 2^failures, capped. Counted in
-- seconds, since intervals overflow where doubles do not.
create or replace function leasehold._backoff(
  p_base interval,
  p_max interval,
  p_failures integer
)
  returns interval
  language sql
  volatile
return pg_catalog.make_interval(secs => pg_catalog.random() * least(
  extract(epoch from p_max)::double precision,
  extract(epoch from p_base)::double precision * 2.0::double precision ^ least(p_failures, 62)
));
