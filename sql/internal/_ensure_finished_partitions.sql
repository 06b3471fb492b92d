-- Makes the partitions of finished for every day on which a row of today may go. Attaching one
-- does not stop the traffic; where a lock cannot be had at once the next round tries again.
create or replace function leasehold._ensure_finished_partitions()
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set lock_timeout = '100ms'
as $$
declare
  v_today date := (leasehold._now() at time zone 'UTC')::date;
  v_day date;
  v_name text;
begin
  for v_day in
    select distinct v_today + needed.days
    from leasehold.queue as queue
    cross join lateral (
      values (queue.keep_completed), (queue.keep_dead)
    ) as keep (span)
    cross join lateral (
      select (extract(epoch from keep.span) / 86400)::integer + ahead.days as days
      from generate_series(-1, 2) as ahead (days)
    ) as needed
    where queue.dropped_at is null
      and keep.span > interval '0'
    order by 1
  loop
    v_name := 'finished_' || to_char(v_day, 'YYYYMMDD');
    continue when to_regclass('leasehold.' || v_name) is not null;
    begin
      execute format(
        'create table leasehold.%I (like leasehold.finished including defaults including constraints)',
        v_name
      );
      execute format(
        'alter table leasehold.finished attach partition leasehold.%I for values from (%L) to (%L)',
        -- Written so that it reads the same in every date style.
        v_name, to_char(v_day, 'YYYY-MM-DD "UTC"'), to_char(v_day + 1, 'YYYY-MM-DD "UTC"')
      );
    exception
      -- Another process made it, a lock is taken, or the default partition has rows of that day.
      when duplicate_table or unique_violation or lock_not_available or check_violation then null;
    end;
  end loop;
end;
$$;
