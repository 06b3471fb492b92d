create table leasehold.checkpoint (
  job_id bigint primary key,
  saved_at timestamptz not null,
  attempt integer not null,
  data jsonb not null
);

comment on table leasehold.checkpoint is
  'What the handler saved last, for the next attempt to resume from. Apart from lease, so that plain renewals stay narrow.';
comment on column leasehold.checkpoint.attempt is 'the attempt that saved it';
