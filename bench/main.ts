import { parseArgs } from 'node:util';
import { backlog } from './backlog.ts';
import { churn } from './churn.ts';
import { drain } from './drain.ts';
import { enqueueMany } from './enqueue-many.ts';
import { enqueueOne } from './enqueue-one.ts';
import { growth } from './growth.ts';
import { heartbeat } from './heartbeat.ts';
import { heldXmin } from './held-xmin.ts';
import { idle } from './idle.ts';
import { payload } from './payload.ts';
import { pickup } from './pickup.ts';
import { processes } from './processes.ts';
import { sqlDrain } from './sql-drain.ts';
import { type Benchmark, isMet } from './support/benchmark.ts';
import { ContenderProcess, ensurePeers, ProgramProcess } from './support/process.ts';
import { describeEnvironment, toJson, toText } from './support/report.ts';
import { save } from './support/results.ts';
import { type Database, Server } from './support/server.ts';

const BENCHMARKS: readonly Benchmark[] = [
  drain,
  sqlDrain,
  enqueueMany,
  enqueueOne,
  pickup,
  heartbeat,
  backlog,
  heldXmin,
  growth,
  payload,
  churn,
  processes,
  idle,
];

const USAGE = `usage: npm run bench -- <name>… [--quick] [--json]

${BENCHMARKS.map(({ name, work }) => `  ${name.padEnd(14)} ${work}`).join('\n')}
  all            every one of them

  --quick        less work and fewer rounds: to see that it runs, not to quote
  --json         nothing but the closing JSON line on standard output
  --save         keep the results: bench/results, with charts, and bench/README.md

An embedded PostgreSQL is started for the run; DATABASE_URL names another.`;

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      quick: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      save: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  const chosen = choose(positionals);
  if (values.help || chosen === undefined || chosen.length === 0) {
    console.error(USAGE);
    process.exitCode = values.help ? 0 : 2;
    return;
  }
  ensurePeers();
  const server = await Server.start();
  try {
    const env = await describeEnvironment(server);
    for (const benchmark of chosen) await run(benchmark, server, env, values);
  } finally {
    await server.stop();
  }
}

function choose(names: readonly string[]): readonly Benchmark[] | undefined {
  if (names.includes('all')) return BENCHMARKS;
  const found = names.map((name) => BENCHMARKS.find((benchmark) => benchmark.name === name));
  return found.every((benchmark) => benchmark !== undefined) ? found : undefined;
}

async function run(
  benchmark: Benchmark,
  server: Server,
  env: Record<string, unknown>,
  options: { readonly quick: boolean; readonly json: boolean; readonly save: boolean },
): Promise<void> {
  const databases: Database[] = [];
  const programs: { end(): Promise<void> }[] = [];
  const kept = <P extends { end(): Promise<void> }>(program: P): P => {
    programs.push(program);
    return program;
  };
  try {
    const outcome = await benchmark.run({
      server,
      quick: options.quick,
      log: (line) => console.error(`${benchmark.name}  ${line}`),
      createDatabase: async () => {
        const database = await server.createDatabase();
        databases.push(database);
        return database;
      },
      contender: (name) => kept(new ContenderProcess(name)),
      program: (path) => kept(new ProgramProcess(path)),
    });
    const result = {
      name: benchmark.name,
      ...outcome,
      met: isMet(outcome),
      env: { ...env, quick: options.quick },
    };
    if (options.save) {
      await save(
        result,
        BENCHMARKS.map(({ name }) => name),
      );
    }
    if (!options.json) console.log(toText(benchmark, outcome));
    console.log(toJson(result));
  } finally {
    for (const program of programs) await program.end();
    for (const database of databases) await database.drop();
  }
}

await main();
