import { availableParallelism, cpus, totalmem } from 'node:os';
import { type Benchmark, isMet, type Outcome } from './benchmark.ts';
import type { Result } from './results.ts';
import type { Server } from './server.ts';
import { rounded } from './statistics.ts';

/** Where the figures come from: they mean nothing without it. */
export async function describeEnvironment(server: Server): Promise<Record<string, unknown>> {
  const { server_version: postgres, ...settings } = await server.describe();
  return {
    postgres,
    node: process.versions.node,
    platform: `${process.platform} ${process.arch}`,
    cpu: cpus()[0]?.model,
    cores: availableParallelism(),
    memory_gib: Math.round(totalmem() / 2 ** 30),
    settings,
  };
}

/** For people: a figure a line, then what became of the targets. */
export function toText({ name, work }: Benchmark, outcome: Outcome): string {
  const { figures, ratios, target, rounds, unit } = outcome;
  const lines = [
    ...Object.entries(figures).map(([key, value]) => [key, `${rounded(value)} ${unit}`]),
    ...Object.entries(ratios).map(([key, value]) => [
      key,
      [rounded(value), ...(target[key] === undefined ? [] : [`target ${target[key]}`])].join('  '),
    ]),
    ...Object.entries(outcome.details ?? {}).map(([key, value]) => [key, String(rounded(value))]),
  ];
  return [
    `${name}: ${work}; median of ${rounds} rounds; targets ${isMet(outcome) ? 'met' : 'missed'}`,
    ...lines.map(([key, value]) => `  ${key?.padEnd(24)} ${value}`),
  ].join('\n');
}

/** For machines: one line, the last of a benchmark. */
export function toJson({ name, unit, rounds, target, met, env, ...values }: Result): string {
  const flat = (figures: Readonly<Record<string, number>> = {}) =>
    Object.fromEntries(Object.entries(figures).map(([key, value]) => [key, rounded(value)]));
  return JSON.stringify({
    name,
    unit,
    rounds,
    ...flat(values.figures),
    ...flat(values.ratios),
    ...flat(values.details),
    target,
    met,
    env,
  });
}
