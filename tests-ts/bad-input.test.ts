import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { packageRoot } from '../client/package-root.ts';
import { createDatabase } from './support/database.ts';
import { Session } from './support/sessions.ts';

const session = await Session.open(await createDatabase());

/** Work of every kind, so that there is something to change. */
beforeAll(async () => {
  for (const file of ['leasehold_test.sql', 'state.sql']) {
    await session.rows(await readFile(join(packageRoot(), 'tests-sql', 'support', file), 'utf8'));
  }
  await session.rows(`
    select leasehold.create_queue('work');
    select leasehold_test.start('a'), leasehold_test.start('b');
    select leasehold_test.start('dead'), leasehold_test.start('completed'), leasehold_test.start('failed');
    select leasehold.heartbeat(leasehold_test.job_id('a'), leasehold_test.token('a'), null, '"saved"');
    select leasehold.dead_letter(leasehold_test.job_id('dead'), leasehold_test.token('dead'));
    select leasehold.complete(leasehold_test.job_id('completed'), leasehold_test.token('completed'));
    select leasehold.fail(leasehold_test.job_id('failed'), leasehold_test.token('failed'), 'x', '1 hour');
    select leasehold.enqueue('work', '1', p_dedup_key => 'k');
    select leasehold.register_worker(leasehold_test.worker_id('a'), array['a']);
  `);
  untouched = await state();
});

const state = () => session.value('select leasehold_test.state()');
/** What every refused call must leave as it is. */
let untouched: string | null;

/** A call with one hole, `$1`, for what is bad about it; `a` and `b` are jobs that are leased. */
type Call = string;

const A = `leasehold_test.job_id('a'), leasehold_test.token('a')`;
const AB_IDS = `array[leasehold_test.job_id('a'), leasehold_test.job_id('b')]`;
const AB_TOKENS = `array[leasehold_test.token('a'), leasehold_test.token('b')]`;

interface Corpus {
  readonly what: string;
  readonly calls: Readonly<Record<string, Call>>;
  /** Each bad value, and the SQLSTATEs it may be refused with. */
  readonly values: readonly (readonly [value: unknown, ...codes: readonly string[]])[];
}

const deep = (depth: number) => '['.repeat(depth) + ']'.repeat(depth);

const HOSTILE_NAMES = [
  'a"b',
  "a'b",
  "a'; drop table leasehold.job; --",
  '--',
  '/*',
  '$$',
  '$1',
  '%s %I %L',
  'back\\slash',
  '\\',
  'pg_temp.x',
  'leasehold.job',
  '__proto__',
  'constructor',
  '../..',
  'NULL',
  'null',
  'Work',
  'WORK',
  'wörk',
  'İ',
  'ı',
  'e\u0301',
  '\u00e9',
  'a\u200bb',
  '\u202ertl',
  '😀',
  '\ud800',
  'x'.repeat(255),
  'x'.repeat(256),
  'x'.repeat(10_000),
];

const BAD_JSON: Corpus['values'] = [
  ['', '22P02'],
  [' ', '22P02'],
  ['{', '22P02'],
  ["{'a': 1}", '22P02'],
  ['undefined', '22P02'],
  ['NaN', '22P02'],
  ['Infinity', '22P02'],
  ['[1,]', '22P02'],
  ['\ufeff{}', '22P02'],
  ['"\u0001"', '22P02'],
  ['"\\u0000"', '22P05'],
  ['{"\\u0000": 1}', '22P05'],
  ['"\\ud800"', '22P02'],
  ['"\\udc00\\ud800"', '22P02'],
  ['"\0"', '22021', '22P02'],
  ['1e200000', '22003'],
  [deep(50_000), '54001'],
  [JSON.stringify('x'.repeat(1_048_575)), 'LH008'],
  [JSON.stringify('x'.repeat(20_000_000)), 'LH008'],
  [`[${Array(20).fill('1e131071').join(',')}]`, 'LH008'],
];

const BAD_SPANS: Corpus['values'] = [
  ['-1 second', '22023'],
  ['-1 microsecond', '22023'],
  ['100 years', '22023'],
  ['178000000 years', '22023'],
  ['-178000000 years', '22023'],
  ['infinity', '22023', '22007'],
  ['-infinity', '22023', '22007'],
  ['NaN', '22007'],
  ['', '22007'],
  ['soon', '22007'],
  ['1 fortnight', '22007'],
  ['99999999999 years', '22015'],
  ['1 second\0', '22021'],
];

const BAD_INTEGERS: Corpus['values'] = [
  ['2147483648', '22003'],
  ['-2147483649', '22003'],
  ['1.5', '22P02'],
  ['1e3', '22P02'],
  ['NaN', '22P02'],
  ['Infinity', '22P02'],
  ['', '22P02'],
  ['ten', '22P02'],
];

const BAD_LIMITS: Corpus['values'] = [
  ['0', '22023'],
  ['-1', '22023'],
  ['2147483647', '22023'],
  ['-2147483648', '22023'],
  [null, '22023'],
  ...BAD_INTEGERS,
];

const BAD_TOKENS: Corpus['values'] = [
  ['00000000-0000-0000-0000-000000000000', 'LH001'],
  ['ffffffff-ffff-ffff-ffff-ffffffffffff', 'LH001'],
  [null, '22023'],
  ['', '22P02'],
  ['token', '22P02'],
  ['00000000-0000-0000-0000-00000000000', '22P02'],
  ['x'.repeat(10_000_000), '22P02'],
];

const BAD_JOB_IDS: Corpus['values'] = [
  ['0', 'LH002'],
  ['-1', 'LH002'],
  ['9007199254740993', 'LH002'],
  ['9223372036854775807', 'LH002'],
  ['-9223372036854775808', 'LH002'],
  ['9223372036854775808', '22003'],
  ['1.5', '22P02'],
  ['', '22P02'],
  ['__proto__', '22P02'],
  [null, '22023'],
];

const many = (count: number, member: string) => `{${Array(count).fill(member).join(',')}}`;
const UUID = '00000000-0000-4000-8000-000000000001';

const BAD_ID_LISTS: Corpus['values'] = [
  [null, '22023'],
  ['{1}', '22023'],
  ['{1,2,3}', '22023'],
  ['{}', '22023'],
  ['{1,null}', '22023'],
  ['{null,null}', '22023'],
  ['{{1,2}}', '22023'],
  ['{{1},{2}}', '22023'],
  [many(1_000_000, '1'), '22023'],
  ['{1,9223372036854775808}', '22003'],
  ['{1,x}', '22P02'],
  ['{1,', '22P02'],
  ['1', '22P02'],
];

const BAD_TOKEN_LISTS: Corpus['values'] = [
  [null, '22023'],
  [`{${UUID}}`, '22023'],
  ['{}', '22023'],
  [`{${UUID},null}`, '22023'],
  [`{{${UUID},${UUID}}}`, '22023'],
  [many(100_001, UUID), '22023'],
  [`{${UUID},x}`, '22P02'],
];

const CORPUS: readonly Corpus[] = [
  {
    what: 'a queue that does not exist',
    calls: {
      enqueue: `select leasehold.enqueue($1, '1')`,
      enqueue_many: `select leasehold.enqueue_many($1, '[]')`,
      lease_jobs: `select leasehold.lease_jobs(array['elsewhere', $1], gen_random_uuid())`,
      pause_queue: 'select leasehold.pause_queue($1)',
      resume_queue: 'select leasehold.resume_queue($1)',
      purge_queue: 'select leasehold.purge_queue($1)',
      drop_queue: 'select leasehold.drop_queue($1)',
      queue_stats: 'select leasehold.queue_stats($1)',
      peek: 'select leasehold.peek($1)',
      redrive: 'select leasehold.redrive(p_queue => $1)',
    },
    values: [
      ...HOSTILE_NAMES.map((name) => [name, 'LH005'] as const),
      ['', 'LH005'],
      [' work', 'LH005'],
      ['work\n', 'LH005'],
      ['work\0', '22021'],
    ],
  },
  {
    what: 'a queue name',
    calls: { create_queue: 'select leasehold.create_queue($1)' },
    values: [
      [null, '22023'],
      ['', '22023'],
      [' ', '22023'],
      [' a', '22023'],
      ['a ', '22023'],
      ['a\tb', '22023'],
      ['a\r\nb', '22023'],
      ['\x1b[31m', '22023'],
      ['a\x7f', '22023'],
      ['x'.repeat(256), '22023'],
      ['x'.repeat(1_000_000), '22023'],
      ['😀'.repeat(64), '22023'],
      ['a\0b', '22021'],
    ],
  },
  {
    what: 'a payload',
    calls: { enqueue: `select leasehold.enqueue('work', $1)` },
    values: [[null, '22023'], ...BAD_JSON],
  },
  {
    what: 'headers',
    calls: { enqueue: `select leasehold.enqueue('work', '1', p_headers => $1)` },
    values: [
      ['[]', '22023'],
      ['1', '22023'],
      ['"x"', '22023'],
      ['null', '22023'],
      [`{"x": "${'x'.repeat(1_048_576)}"}`, 'LH008'],
      ['{"\\u0000": 1}', '22P05'],
    ],
  },
  {
    what: 'a list of jobs',
    calls: { enqueue_many: `select leasehold.enqueue_many('work', $1)` },
    values: [
      [null, '22023'],
      ['{}', '22023'],
      ['1', '22023'],
      ['[1]', '22023'],
      ['[{}]', '22023'],
      ['[[{"payload": 1}]]', '22023'],
      ['[{"payload": 1}, null]', '22023'],
      ['[{"payload": 1}, {"payload": 1, "queue": "work"}]', '22023'],
      ['[{"payload": 1, "priority": 10}]', '22023'],
      ['[{"payload": 1, "priority": "1; drop"}]', '22P02'],
      ['[{"payload": 1, "delay": "-1 s"}]', '22023'],
      ['[{"payload": 1, "run_at": "infinity"}]', '22023'],
      [`[${'{"payload": 1},'.repeat(10_000)}{"payload": 1}]`, '22023'],
      [`[{"payload": "${'x'.repeat(1_048_575)}"}]`, 'LH008'],
      [`[{"payload": ${deep(50_000)}}]`, '54001'],
    ],
  },
  {
    what: 'a result or a checkpoint',
    calls: {
      complete: `select leasehold.complete(${A}, $1)`,
      heartbeat: `select leasehold.heartbeat(${A}, null, $1)`,
    },
    values: BAD_JSON,
  },
  {
    what: 'results or checkpoints of a batch',
    calls: {
      complete_many: `select leasehold.complete_many(${AB_IDS}, ${AB_TOKENS}, $1)`,
      heartbeat_many: `select leasehold.heartbeat_many(${AB_IDS}, ${AB_TOKENS}, null, $1)`,
    },
    values: [
      ['{}', '22023'],
      ['{1}', '22023'],
      ['{1,2,3}', '22023'],
      ['{{1,2}}', '22023'],
      [`{1,"\\"${'x'.repeat(1_048_575)}\\""}`, 'LH008'],
      ['{1,x}', '22P02'],
      ['{1,"\\"\\\\u0000\\""}', '22P05'],
    ],
  },
  {
    what: 'a dedup key',
    calls: { enqueue: `select leasehold.enqueue('work', '1', p_dedup_key => $1)` },
    values: [
      ['', '22023'],
      ['x'.repeat(256), '22023'],
      ['😀'.repeat(64), '22023'],
      ['x'.repeat(10_000_000), '22023'],
      ['a\0b', '22021'],
    ],
  },
  {
    what: 'a priority',
    calls: { enqueue: `select leasehold.enqueue('work', '1', $1)` },
    values: [
      [null, '22023'],
      ['-1', '22023'],
      ['10', '22023'],
      ['2147483647', '22023'],
      ...BAD_INTEGERS,
    ],
  },
  {
    what: 'a budget',
    calls: {
      'enqueue failures': `select leasehold.enqueue('work', '1', p_max_failures => $1)`,
      'enqueue losses': `select leasehold.enqueue('work', '1', p_max_losses => $1)`,
      'create_queue failures': `select leasehold.create_queue('work', p_max_failures => $1)`,
      'create_queue losses': `select leasehold.create_queue('work', p_max_losses => $1)`,
      'create_queue bytes': `select leasehold.create_queue('work', p_max_payload_bytes => $1)`,
      register_worker: `select leasehold.register_worker(gen_random_uuid(), '{}', $1)`,
    },
    values: [['0', '22023'], ['-1', '22023'], ['2147483647', '22023'], ...BAD_INTEGERS],
  },
  {
    what: 'an instant',
    calls: { enqueue: `select leasehold.enqueue('work', '1', p_run_at => $1)` },
    values: [
      ['infinity', '22023'],
      ['-infinity', '22023'],
      ['294277-01-01', '22008'],
      ['4714-11-23 BC', '22008'],
      ['2030-02-30', '22008'],
      ['2030-13-01', '22008'],
      ['tomorrowish', '22007'],
      ['', '22007'],
    ],
  },
  {
    what: 'an instant whose time to live is past all time',
    calls: {
      enqueue: `select leasehold.enqueue('work', '1', p_run_at => $1, p_time_to_live => '10 years')`,
    },
    values: [['294276-12-31', '22008']],
  },
  {
    what: 'a span',
    calls: {
      'enqueue delay': `select leasehold.enqueue('work', '1', p_delay => $1)`,
      'enqueue runtime': `select leasehold.enqueue('work', '1', p_max_runtime => $1)`,
      'enqueue time to live': `select leasehold.enqueue('work', '1', p_time_to_live => $1)`,
      'enqueue window': `select leasehold.enqueue('work', '1', p_dedup_key => 'x', p_dedup_window => $1)`,
      lease_jobs: `select leasehold.lease_jobs(array['work'], gen_random_uuid(), 1, $1)`,
      heartbeat: `select leasehold.heartbeat(${A}, $1)`,
      heartbeat_many: `select leasehold.heartbeat_many(${AB_IDS}, ${AB_TOKENS}, $1)`,
      fail: `select leasehold.fail(${A}, 'x', $1)`,
      fail_many: `select leasehold.fail_many(${AB_IDS}, ${AB_TOKENS}, null, array[null, $1]::interval[])`,
      release: `select leasehold.release(${A}, $1)`,
      'create_queue lease': `select leasehold.create_queue('work', p_lease => $1)`,
      'create_queue backoff base': `select leasehold.create_queue('work', p_backoff_base => $1)`,
      'create_queue backoff max': `select leasehold.create_queue('work', p_backoff_max => $1)`,
      'create_queue runtime': `select leasehold.create_queue('work', p_max_runtime => $1)`,
      'create_queue time to live': `select leasehold.create_queue('work', p_time_to_live => $1)`,
      'create_queue completed': `select leasehold.create_queue('work', p_keep_completed => $1)`,
      'create_queue dead': `select leasehold.create_queue('work', p_keep_dead => $1)`,
    },
    values: BAD_SPANS,
  },
  {
    what: 'a span that must not be short',
    calls: {
      lease_jobs: `select leasehold.lease_jobs(array['work'], gen_random_uuid(), 1, $1)`,
      heartbeat: `select leasehold.heartbeat(${A}, $1)`,
      heartbeat_many: `select leasehold.heartbeat_many(${AB_IDS}, ${AB_TOKENS}, $1)`,
      'enqueue runtime': `select leasehold.enqueue('work', '1', p_max_runtime => $1)`,
      'enqueue time to live': `select leasehold.enqueue('work', '1', p_time_to_live => $1)`,
      'create_queue lease': `select leasehold.create_queue('work', p_lease => $1)`,
    },
    values: [
      ['0', '22023'],
      ['1 microsecond', '22023'],
      ['1 millisecond', '22023'],
      ['0.999999 seconds', '22023'],
    ],
  },
  {
    what: 'a limit',
    calls: {
      lease_jobs: `select leasehold.lease_jobs(array['work'], gen_random_uuid(), $1)`,
      purge_queue: `select leasehold.purge_queue('work', $1)`,
      peek: `select leasehold.peek('work', 'ready', $1)`,
      redrive: `select leasehold.redrive(null, 'work', $1)`,
      promote_due: 'select leasehold.promote_due($1)',
      reap_expired: 'select leasehold.reap_expired($1)',
      prune: 'select leasehold.prune($1)',
    },
    values: BAD_LIMITS,
  },
  {
    what: 'a list of queues',
    calls: {
      lease_jobs: 'select leasehold.lease_jobs($1, gen_random_uuid())',
      register_worker: 'select leasehold.register_worker(gen_random_uuid(), $1)',
      set_waiting: `select leasehold.set_waiting($1, 'told', pg_backend_pid())`,
    },
    values: [
      [null, '22023'],
      ['{null}', '22023'],
      ['{work,null}', '22023'],
      ['{{work},{work}}', '22023'],
      ['{', '22P02'],
      ['work', '22P02'],
    ],
  },
  {
    what: 'a worker',
    calls: {
      lease_jobs: `select leasehold.lease_jobs(array['work'], $1)`,
      register_worker: `select leasehold.register_worker($1, '{}')`,
      retire_worker: 'select leasehold.retire_worker($1)',
    },
    values: [
      [null, '22023'],
      ['', '22P02'],
      ['worker-1', '22P02'],
    ],
  },
  {
    what: 'a job id',
    calls: {
      job: 'select leasehold.job($1)',
      cancel: 'select leasehold.cancel($1)',
      assert_lease: `select leasehold.assert_lease($1, leasehold_test.token('a'))`,
      heartbeat: `select leasehold.heartbeat($1, leasehold_test.token('a'))`,
      complete: `select leasehold.complete($1, leasehold_test.token('a'))`,
      fail: `select leasehold.fail($1, leasehold_test.token('a'))`,
      release: `select leasehold.release($1, leasehold_test.token('a'))`,
      dead_letter: `select leasehold.dead_letter($1, leasehold_test.token('a'))`,
    },
    values: BAD_JOB_IDS,
  },
  {
    what: 'the last job of a page',
    calls: { peek: `select leasehold.peek('work', 'ready', 1, $1)` },
    values: BAD_JOB_IDS.filter(([value]) => value !== null),
  },
  {
    what: 'a token',
    calls: {
      assert_lease: `select leasehold.assert_lease(leasehold_test.job_id('a'), $1)`,
      heartbeat: `select leasehold.heartbeat(leasehold_test.job_id('a'), $1, null, '1')`,
      complete: `select leasehold.complete(leasehold_test.job_id('a'), $1, '1')`,
      fail: `select leasehold.fail(leasehold_test.job_id('a'), $1)`,
      release: `select leasehold.release(leasehold_test.job_id('a'), $1)`,
      dead_letter: `select leasehold.dead_letter(leasehold_test.job_id('a'), $1)`,
    },
    values: BAD_TOKENS,
  },
  {
    what: 'a list of job ids',
    calls: {
      heartbeat_many: `select leasehold.heartbeat_many($1, ${AB_TOKENS})`,
      complete_many: `select leasehold.complete_many($1, ${AB_TOKENS})`,
      fail_many: `select leasehold.fail_many($1, ${AB_TOKENS})`,
    },
    values: BAD_ID_LISTS,
  },
  {
    what: 'a list of tokens',
    calls: {
      heartbeat_many: `select leasehold.heartbeat_many(${AB_IDS}, $1)`,
      complete_many: `select leasehold.complete_many(${AB_IDS}, $1)`,
      fail_many: `select leasehold.fail_many(${AB_IDS}, $1)`,
    },
    values: BAD_TOKEN_LISTS,
  },
  {
    what: 'dead jobs',
    calls: { redrive: 'select leasehold.redrive($1::bigint[])' },
    values: [
      [null, '22023'],
      ['{null}', '22023'],
      ['{{1}}', '22023'],
      [many(1001, '1'), '22023'],
      ['{x}', '22P02'],
    ],
  },
  {
    what: 'a text with a NUL',
    calls: {
      fail: `select leasehold.fail(${A}, $1)`,
      dead_letter: `select leasehold.dead_letter(${A}, $1)`,
      cancel: `select leasehold.cancel(leasehold_test.job_id('a'), $1)`,
    },
    values: [['a\0b', '22021']],
  },
  {
    what: 'a state',
    calls: { peek: `select leasehold.peek('work', $1)` },
    values: [
      [null, '22023'],
      ['', '22023'],
      ['READY', '22023'],
      ["ready' or '1'='1", '22023'],
      ['ready\0', '22021'],
    ],
  },
];

const show = (value: unknown) => {
  const text = String(JSON.stringify(value));
  return text.length > 40 ? `${text.slice(0, 40)}… (${text.length})` : text;
};

describe.each(CORPUS)('of $what', ({ calls, values }) => {
  const rows = Object.entries(calls).flatMap(([name, sql]) =>
    values.map(([value, ...codes]) => ({ name, sql, value, codes, shown: show(value) })),
  );
  test.each(rows)('$name refuses $shown', async ({ sql, value, codes }) => {
    const outcome = await session.outcome(sql, [value]);
    expect(codes).toContain(outcome);
    expect(await state()).toBe(untouched);
  });
});

describe('a batch whose every item is bad', () => {
  const batches: readonly (readonly [
    name: string,
    ids: string,
    tokens: string,
    statuses: readonly string[],
  ])[] = [
    [
      'tokens swapped between two jobs',
      AB_IDS,
      `array[leasehold_test.token('b'), leasehold_test.token('a')]`,
      ['lease_lost', 'lease_lost'],
    ],
    [
      'jobs that do not exist',
      `array[0, -1, 9007199254740993]::bigint[]`,
      `array_fill(leasehold_test.token('a'), array[3])`,
      Array(3).fill('job_not_found'),
    ],
    [
      'one job with many tokens',
      `array_fill(leasehold_test.job_id('a'), array[100])`,
      `array(select gen_random_uuid() from generate_series(1, 100))`,
      Array(100).fill('lease_lost'),
    ],
    [
      'the token of another job',
      `array[leasehold_test.job_id('a')]`,
      `array[leasehold_test.token('completed')]`,
      ['lease_lost'],
    ],
  ];
  const calls = {
    complete_many: (ids: string, tokens: string) =>
      `select status from leasehold.complete_many(${ids}, ${tokens}, array_fill('1'::jsonb, array[cardinality(${ids})]))`,
    fail_many: (ids: string, tokens: string) =>
      `select status from leasehold.fail_many(${ids}, ${tokens})`,
    heartbeat_many: (ids: string, tokens: string) =>
      `select status from leasehold.heartbeat_many(${ids}, ${tokens}, '1 day', array_fill('1'::jsonb, array[cardinality(${ids})]))`,
  };
  const rows = Object.entries(calls).flatMap(([call, sql]) =>
    batches.map(([what, ids, tokens, statuses]) => ({
      call,
      what,
      sql: sql(ids, tokens),
      statuses: call === 'heartbeat_many' ? statuses.map(() => 'lost') : statuses,
    })),
  );
  test.each(rows)(
    '$call answers $what one by one and changes nothing (G3)',
    async ({ sql, statuses }) => {
      expect(await session.column(sql)).toEqual(statuses);
      expect(await state()).toBe(untouched);
    },
  );
});

/** Every public function, with arguments that are right. */
const EVERY: Readonly<Record<string, Call>> = {
  assert_lease: `select leasehold.assert_lease(${A})`,
  cancel: `select leasehold.cancel(leasehold_test.job_id('a'))`,
  complete: `select leasehold.complete(${A})`,
  complete_many: `select leasehold.complete_many(${AB_IDS}, ${AB_TOKENS})`,
  create_queue: `select leasehold.create_queue('work')`,
  dead_letter: `select leasehold.dead_letter(${A})`,
  dead_letter_many: `select leasehold.dead_letter_many(${AB_IDS}, ${AB_TOKENS})`,
  drop_queue: `select leasehold.drop_queue('completed')`,
  enqueue: `select leasehold.enqueue('work', '1', p_dedup_key => 'k')`,
  enqueue_many: `select leasehold.enqueue_many('work', '[]')`,
  fail: `select leasehold.fail(${A})`,
  fail_many: `select leasehold.fail_many(${AB_IDS}, ${AB_TOKENS})`,
  heartbeat: `select leasehold.heartbeat(${A})`,
  heartbeat_many: `select leasehold.heartbeat_many(${AB_IDS}, ${AB_TOKENS})`,
  job: `select leasehold.job(leasehold_test.job_id('a'))`,
  lease_jobs: `select leasehold.lease_jobs(array['work'], gen_random_uuid())`,
  pause_queue: `select leasehold.pause_queue('work')`,
  peek: `select leasehold.peek('work')`,
  promote_due: 'select leasehold.promote_due()',
  prune: 'select leasehold.prune()',
  purge_queue: `select leasehold.purge_queue('work')`,
  queue_stats: 'select leasehold.queue_stats()',
  reap_expired: 'select leasehold.reap_expired()',
  redrive: `select leasehold.redrive(array[leasehold_test.job_id('dead')])`,
  register_worker: `select leasehold.register_worker(leasehold_test.worker_id('a'), array['a'])`,
  release: `select leasehold.release(${A})`,
  release_many: `select leasehold.release_many(${AB_IDS}, ${AB_TOKENS})`,
  resume_queue: `select leasehold.resume_queue('work')`,
  retire_worker: `select leasehold.retire_worker(leasehold_test.worker_id('a'))`,
  schema_version: 'select leasehold.schema_version()',
  oldest_client: 'select leasehold.oldest_client()',
  set_waiting: `select leasehold.set_waiting(array['work'], 'off', pg_backend_pid())`,
  tick: 'select leasehold.tick()',
};

const READERS = ['job', 'peek', 'queue_stats', 'schema_version', 'oldest_client', 'set_waiting'];
const ANY_LEVEL = [
  ...READERS,
  'create_queue',
  'enqueue',
  'enqueue_many',
  'pause_queue',
  'resume_queue',
];

async function within(mode: string, sql: string): Promise<string | null> {
  await session.rows(`begin ${mode}`);
  try {
    return await session.outcome(sql);
  } finally {
    // What was refused has nothing to commit; what was not is not to stay.
    await session.rollback();
  }
}

describe('the kinds of transaction', () => {
  test('are tried with every public function', async () => {
    expect(
      await session.column(
        `select distinct proname from pg_proc
         where pronamespace = 'leasehold'::regnamespace and proname !~ '^_' order by 1`,
      ),
    ).toEqual(Object.keys(EVERY).sort());
  });

  describe.each(['repeatable read', 'serializable'])('isolation level %s', (level) => {
    test.each(Object.entries(EVERY))('%s works or refuses, as it says', async (name, sql) => {
      const outcome = await within(`isolation level ${level}`, sql);
      if (ANY_LEVEL.includes(name)) expect(outcome).not.toMatch(/^LH|^[0-9A-Z]{5}$/);
      else expect(outcome).toBe('LH006');
      expect(await state()).toBe(untouched);
    });
  });

  describe('read only', () => {
    test.each(Object.entries(EVERY))('%s works or refuses, as it says', async (name, sql) => {
      const outcome = await within('read only', sql);
      if (READERS.includes(name)) expect(outcome).not.toBe('LH007');
      else expect(outcome).toBe('LH007');
      expect(await state()).toBe(untouched);
    });
  });
});

describe('what looks bad and is not', () => {
  const payloads = [
    'null',
    '""',
    '[]',
    '{}',
    '0',
    '-0',
    '1e400',
    '12345678901234567890',
    '{"a": 1, "a": 2}',
    '{"__proto__": 1, "toJSON": 2}',
    '"\\ud83d\\ude00"',
    '"\\u202e\\u200b"',
    deep(5_000),
    JSON.stringify('x'.repeat(1_048_574)),
  ];
  test.each(payloads.map((payload) => ({ payload, shown: show(payload) })))(
    'the payload $shown comes back as PostgreSQL reads it (S17)',
    async ({ payload }) => {
      const jobId = await session.value(`select leasehold.enqueue('work', $1)`, [payload]);
      expect(
        await session.value('select payload = $2::jsonb from leasehold.job($1)', [jobId, payload]),
      ).toBe('t');
    },
  );

  test.each(HOSTILE_NAMES.filter((name) => Buffer.byteLength(name) <= 255))(
    'a queue may be called %j, and is data like any other',
    async (name) => {
      await session.rows('select leasehold.create_queue($1)', [name]);
      const jobId = await session.value(`select leasehold.enqueue($1, '1', p_dedup_key => $1)`, [
        name,
      ]);
      const [leased] = await session.rows(
        'select job_id, queue from leasehold.lease_jobs(array[$1], gen_random_uuid())',
        [name],
      );
      expect(leased).toEqual({ job_id: jobId, queue: name.toWellFormed() });
      expect(await session.value('select leased from leasehold.queue_stats($1)', [name])).toBe('1');
    },
  );
});
