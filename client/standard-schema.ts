import { LeaseholdError } from './errors.ts';

/**
 * The part of the Standard Schema interface (standardschema.dev) that is used here. Validators of
 * zod, valibot, arktype and others have it.
 */
export interface StandardSchema<Output = unknown> {
  readonly '~standard': {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => Verdict<Output> | Promise<Verdict<Output>>;
  };
}

type Verdict<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: readonly Issue[] };

interface Issue {
  readonly message: string;
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
}

/** Validators of one queue. */
export interface QueueSchemas<P = unknown, R = unknown> {
  readonly payload?: StandardSchema<P>;
  readonly result?: StandardSchema<R>;
}

/** The value as the schema gives it back; throws `invalid_payload` naming every issue. */
export async function validate<T>(
  schema: StandardSchema<T> | undefined,
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
