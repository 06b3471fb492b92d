-- A span without days and months: a day is 24 hours, a month 30 days and a year 365.25 days, as PostgreSQL counts the
-- seconds of a span. Days that are added to an instant follow the session's time zone, and have 23 hours now and then.
create or replace function leasehold._hours(p_span interval)
  returns interval
  language sql
  immutable
return pg_catalog.make_interval(secs => extract(epoch from p_span)::double precision);
