create table leasehold.dedup (
  job_id bigint not null,
  expires_at timestamptz not null,
  queue_id integer not null,
  dedup_key text not null,
  constraint dedup_key_is_taken_once_a_queue primary key (queue_id, dedup_key)
);

comment on table leasehold.dedup is
  'Keys that enqueue has seen: taken until expires_at, and in any case while their job is live.';
comment on index leasehold.dedup_key_is_taken_once_a_queue is 'enqueue finds the job of a key; two at once wait for each other here';
