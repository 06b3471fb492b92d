-- The whole of leasehold in load order: psql -1 -f sql/install.sql
-- Group: schema and clock
\ir schema.sql
\ir internal/_now.sql
-- Group: tables
\ir tables/queue.sql
\ir tables/job.sql
\ir tables/scheduled.sql
\ir tables/ready.sql
\ir tables/mark.sql
\ir tables/blocked.sql
\ir tables/lease.sql
\ir tables/finished.sql
\ir tables/attempt.sql
\ir tables/checkpoint.sql
\ir tables/dedup.sql
\ir tables/request.sql
\ir tables/worker.sql
\ir tables/outage.sql
\ir tables/tally.sql
\ir tables/upkeep.sql
-- Group: shapes that leave the schema
\ir types/leased_job.sql
\ir types/heartbeat_answer.sql
\ir types/settlement.sql
\ir types/job_info.sql
\ir types/queue_stat.sql
\ir types/tick_answer.sql
-- Group: internal shapes and views
\ir types/_new_job.sql
\ir types/_ending.sql
\ir internal/_live.sql
-- Group: internal: guards
\ir internal/_require_writable.sql
\ir internal/_require_read_committed.sql
\ir internal/_require_batch.sql
\ir internal/_require_companion.sql
\ir internal/_require_documents.sql
\ir internal/_require_limit.sql
\ir internal/_require_list.sql
\ir internal/_require_number.sql
\ir internal/_hours.sql
\ir internal/_require_span.sql
-- Group: internal: look up, judge, answer
\ir internal/_queue.sql
\ir internal/_budget.sql
\ir internal/_backoff.sql
\ir internal/_epoch.sql
\ir internal/_extended.sql
\ir internal/_is_live.sql
\ir internal/_is_current.sql
\ir internal/_lapsed_in.sql
\ir internal/_lapses.sql
\ir internal/_survived.sql
\ir internal/_excuse.sql
\ir internal/_may_be_last.sql
\ir internal/_note_outage.sql
\ir internal/_job_infos.sql
\ir internal/_await_replication.sql
\ir internal/_leases_of_request.sql
\ir internal/_raise_lost.sql
\ir internal/_settled_status.sql
\ir internal/_settled.sql
-- Group: internal: move jobs
\ir internal/_waiting_class.sql
\ir internal/_watching_class.sql
\ir internal/_buckets.sql
\ir internal/_bucket.sql
\ir internal/_waiting_key.sql
\ir internal/_slots.sql
\ir internal/_is_held.sql
\ir internal/_is_watched.sql
\ir internal/_hold_waiting.sql
\ir internal/_let_go_of_waiting.sql
\ir internal/_share_slot.sql
\ir internal/_enqueue_class.sql
\ir internal/_claim_ids.sql
\ir internal/_advance_mark.sql
\ir internal/_line.sql
\ir internal/_notify.sql
\ir internal/_wake.sql
\ir internal/_deduplicate.sql
\ir internal/_require_size.sql
\ir internal/_enqueue.sql
\ir internal/_enqueue_plain.sql
\ir internal/_await_holder.sql
\ir internal/_revive.sql
\ir internal/_renew.sql
\ir internal/_take.sql
\ir internal/_take_lapsed.sql
\ir internal/_save_checkpoints.sql
\ir internal/_erase.sql
\ir internal/_finish.sql
\ir internal/_withdraw.sql
\ir internal/_end_attempts.sql
\ir internal/_answer_endings.sql
\ir internal/_release_delay.sql
\ir internal/_trim_attempts.sql
-- Group: queues
\ir functions/create_queue.sql
\ir functions/pause_queue.sql
\ir functions/resume_queue.sql
\ir functions/purge_queue.sql
\ir functions/drop_queue.sql
\ir functions/queue_stats.sql
-- Group: produce
\ir functions/enqueue.sql
\ir functions/enqueue_many.sql
\ir functions/cancel.sql
-- Group: work
\ir functions/register_worker.sql
\ir functions/retire_worker.sql
\ir functions/set_waiting.sql
\ir functions/lease_jobs.sql
\ir functions/heartbeat.sql
\ir functions/heartbeat_many.sql
\ir functions/assert_lease.sql
\ir functions/complete.sql
\ir functions/complete_many.sql
\ir functions/fail.sql
\ir functions/fail_many.sql
\ir functions/release_many.sql
\ir functions/release.sql
\ir functions/dead_letter_many.sql
\ir functions/dead_letter.sql
-- Group: look and repair
\ir functions/job.sql
\ir functions/peek.sql
\ir functions/redrive.sql
-- Group: maintain
\ir internal/_promote.sql
\ir internal/_reap.sql
\ir internal/_prune_jobs.sql
\ir internal/_prune_finished.sql
\ir internal/_sweep.sql
\ir internal/_perform.sql
\ir internal/_suspects.sql
\ir internal/_maintain.sql
\ir functions/promote_due.sql
\ir functions/reap_expired.sql
\ir functions/prune.sql
\ir functions/tick.sql
\ir functions/schema_version.sql
\ir functions/oldest_client.sql
-- Group: grants
\ir grants.sql
