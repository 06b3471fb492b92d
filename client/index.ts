export {
  Client,
  type ClientOptions,
  type Completion,
  type DeadLetter,
  type Failure,
  KNOWN_SCHEMA_VERSIONS,
  type LeaseRequest,
  type Queryable,
  type Release,
  type Renewal,
} from './client.ts';
export type { Context, Handler, Job } from './context.ts';
export { type ErrorCode, LeaseholdError, SQLSTATES } from './errors.ts';
export type { AbortReason, JobRef, OutcomeKind, SchedulerEvent } from './events.ts';
export type { Json } from './json.ts';
export { type MigrateOptions, migrate } from './migrate.ts';
export {
  DEFAULTS,
  type HandlerOf,
  type HandlerSettings,
  type SchedulerOptions,
} from './options.ts';
export { JobAbort } from './running.ts';
export {
  Scheduler,
  type StopResult,
  type UndeliveredOutcome,
} from './scheduler.ts';
export type { QueueSchemas, StandardSchema } from './standard-schema.ts';
export type { ThreadOptions } from './thread-runner.ts';
export type * from './types.ts';
