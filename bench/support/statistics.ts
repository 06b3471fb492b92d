/** The middle of the values; of an even number of them the mean of the middle two. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((one, other) => one - other);
  const upper = sorted[sorted.length >> 1];
  const lower = sorted[(sorted.length - 1) >> 1];
  if (upper === undefined || lower === undefined) throw new Error('no values to take a median of');
  return (lower + upper) / 2;
}

/** The value that so large a part of the values does not exceed. */
export function quantile(values: readonly number[], part: number): number {
  const sorted = values.toSorted((one, other) => one - other);
  const value = sorted[Math.max(0, Math.ceil(sorted.length * part) - 1)];
  if (value === undefined) throw new Error('no values to take a quantile of');
  return value;
}

/** A number with as many digits as mean something in a benchmark. */
export function rounded(value: number): number {
  return Number(value.toPrecision(3));
}

/** One figure over another. */
export function ratioOf(
  figures: Readonly<Record<string, number>>,
  one: string,
  other: string,
): number {
  const [dividend, divisor] = [figures[one], figures[other]];
  if (dividend === undefined || divisor === undefined) {
    throw new Error(`no such figures: ${one}, ${other}`);
  }
  return dividend / divisor;
}
