import { median, rounded } from './statistics.ts';

export interface Side {
  /** Key of its figure: `leasehold`, `floor`, the name of a peer. */
  readonly name: string;
  /** Does the work once and says how fast that was. */
  measure(): Promise<number>;
}

/**
 * Lets the sides take turns for some rounds, each round begun by the next side, so that whatever else
 * the machine does and whatever one side leaves behind is shared by all. Returns the medians.
 */
export async function alternate(
  sides: readonly Side[],
  rounds: number,
  log: (line: string) => void,
): Promise<Record<string, number>> {
  const figures = new Map(sides.map((side) => [side.name, [] as number[]]));
  for (let round = 0; round < rounds; round += 1) {
    const first = round % sides.length;
    for (const side of [...sides.slice(first), ...sides.slice(0, first)]) {
      const figure = await side.measure();
      figures.get(side.name)?.push(figure);
      log(`round ${round + 1}/${rounds}  ${side.name.padEnd(24)} ${rounded(figure)}`);
    }
  }
  return Object.fromEntries([...figures].map(([name, values]) => [name, median(values)]));
}
