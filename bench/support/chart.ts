import { rounded } from './statistics.ts';

const WIDTH = 720;
const LABEL = 210;
const VALUE = 110;
const ROW = 26;
const HEAD = 34;

/** A bar for every figure, as SVG that is readable on light and dark pages. */
export function barChart(
  title: string,
  unit: string,
  figures: Readonly<Record<string, number>>,
): string {
  const entries = Object.entries(figures);
  const most = Math.max(...entries.map(([, value]) => value));
  const bars = entries.map(([name, value], index) => {
    const y = HEAD + index * ROW;
    const width = Math.max(1, (value / most) * (WIDTH - LABEL - VALUE));
    const color = name.startsWith('leasehold') ? '#2f6fde' : '#9a9a9a';
    return `  <text x="${LABEL - 8}" y="${y + 16}" text-anchor="end">${escaped(name)}</text>
  <rect x="${LABEL}" y="${y + 3}" width="${width.toFixed(1)}" height="${ROW - 8}" fill="${color}" />
  <text x="${(LABEL + width + 6).toFixed(1)}" y="${y + 16}">${rounded(value).toLocaleString('en')}</text>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEAD + entries.length * ROW + 6}" font-family="system-ui, sans-serif" font-size="13" fill="#777">
  <text x="8" y="20" font-weight="bold">${escaped(title)} (${escaped(unit)})</text>
${bars.join('\n')}
</svg>
`;
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
}
