/* Results that cannot be stored, each by name; as a module, the handler that returns the one its payload names. */
import type { Job } from '../../../client/index.ts';

const cycle: { self?: unknown } = {};
cycle.self = cycle;

function deep(levels: number): unknown {
  let value: unknown = 'bottom';
  for (let level = 0; level < levels; level++) value = [value];
  return value;
}

/** What the handler returns, and what is said of it. */
export const UNSTORABLE: Readonly<Record<string, readonly [unknown, RegExp]>> = {
  'a BigInt': [{ total: 12n }, /BigInt\nsize: not known.*\nresult: \{ total: 12n \}$/],
  'a cycle': [cycle, /circular structure.*\nsize: not known.*\nresult: .*Circular/],
  NUL: ['a\0b', /NUL character.*\nsize: 10 bytes as JSON\nresult: "a\\u0000b"$/],
  'half a surrogate': [
    { text: ['\udfff'] },
    /surrogate.*\nsize: .*\nresult: \{"text":\["\\udfff"\]\}$/,
  ],
  'too much': [
    'x'.repeat(1_048_576),
    /at most 1048576 bytes.*\nsize: 1048578 bytes as JSON\nresult: "xxx/,
  ],
  // Shorter than the limit as JavaScript writes it, longer as PostgreSQL does.
  'too much for PostgreSQL': [Array.from({ length: 10_000 }, () => 1e300), /at most 1048576 bytes/],
  'too deep for JSON.stringify': [deep(60_000), /call stack.*\nsize: not known.*\nresult: \[\s+\[/],
  'too deep for PostgreSQL': [{ toJSON: () => deep(4_050) }, /levels deep|call stack/],
  'a toJSON that throws': [
    {
      toJSON: () => {
        throw new Error('no JSON\nof this');
      },
    },
    /no JSON\nsize: not known/,
  ],
  'a getter that throws nothing': [
    {
      get trap() {
        throw undefined;
      },
    },
    /undefined\nsize: not known.*\nresult: \{ trap: \[Getter\] \}/,
  ],
  'a hostile proxy': [
    new Proxy(
      {},
      {
        get: (_, name) => {
          // What await looks at: a handler that returns such a thing throws.
          if (name === 'then') return undefined;
          throw new Error('trap');
        },
        getPrototypeOf: () => {
          throw new Error('trap');
        },
        ownKeys: () => {
          throw new Error('trap');
        },
      },
    ),
    /trap\nsize: not known.*\nresult: ./,
  ],
};

export default ({ payload }: Job<string>): unknown => UNSTORABLE[payload]?.[0];
