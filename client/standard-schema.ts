import { LeaseholdError } from './errors.ts';

/**
 * The part of the Standard Schema interface (standardschema.dev) that is used here. Validators of
 * zod, valibot, arktype and others have it.
 */
export interface StandardSchema<Input = unknown, Output = Input> {
  readonly '~standard': {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => Verdict<Output> | Promise<Verdict<Output>>;
    readonly types?: { readonly input: Input; readonly output: Output } | undefined;
  };
}

type Verdict<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: readonly Issue[] };

interface Issue {
  readonly message: string;
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
}

/**
 * Validators of one queue. Each has an input side and an output side, which differ where it transforms.
 *
 * `payload`: a job is stored with its payload as it was given, as JSON; so `enqueue` only checks that. The worker
 * checks it again, and its handler sees the output. What the schema takes must be JSON: the text of a date, say.
 *
 * `result`: the input is what the handler returns; the output is stored, and read as it was stored. What a
 * module's handler returns reaches its schema as JSON.
 */
export interface QueueSchemas<P = unknown, R = unknown, Parsed = P, Returned = R> {
  readonly payload?: StandardSchema<P, Parsed> | undefined;
  readonly result?: StandardSchema<Returned, R> | undefined;
}

/** The value as the schema gives it back; throws `invalid_payload` naming every issue. */
export async function validate<T>(
  schema: StandardSchema<unknown, T> | undefined,
  what: string,
  value: unknown,
): Promise<T> {
  if (schema === undefined) return value as T;
  const verdict = await schema['~standard'].validate(value);
  if (verdict.issues === undefined) return verdict.value;

  const issues = verdict.issues.map(({ message, path }) => {
    const at = path?.map((step) => String(typeof step === 'object' ? step.key : step)).join('.');
    return at ? `${at}: ${message}` : message;
  });
  throw new LeaseholdError('invalid_payload', `${what} is not valid: ${issues.join('; ')}`);
}
