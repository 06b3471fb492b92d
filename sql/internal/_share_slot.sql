-- Makes known to these queues that sessions wait for them in a slot, which enqueue must test then. Answers
-- whether all of them know. A queue keeps its slots, but for those nobody waits in once it has many.
create or replace function leasehold._share_slot(
  p_queue_ids integer[],
  p_slot integer
)
  returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
declare
  c_many constant integer := 16;
  v_bit bigint := 1::bigint << p_slot;
begin
  -- Where nothing can be written nothing can be enqueued either.
  if current_setting('transaction_read_only') = 'off' then
    update leasehold.queue as queue
    set waiting_slots = v_bit | case
      when bit_count(queue.waiting_slots::bit(64)) < c_many then queue.waiting_slots
      else (
        select coalesce(bit_or(1::bigint << slot), 0::bigint)
        from leasehold._slots(queue.waiting_slots) as slot
        where leasehold._is_held(leasehold._waiting_class(), -slot)
      )
    end
    where queue.queue_id in (
      select unaware.queue_id
      from leasehold.queue as unaware
      where unaware.queue_id = any (p_queue_ids)
        and unaware.waiting_slots & v_bit = 0
      order by unaware.queue_id
      for no key update skip locked
    );
  end if;

  return current_setting('transaction_read_only') = 'on' or not exists (
    select
    from leasehold.queue as queue
    where queue.queue_id = any (p_queue_ids)
      and queue.waiting_slots & v_bit = 0
  );
end;
$$;
