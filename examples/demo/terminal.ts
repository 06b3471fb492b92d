/* Where the demonstration talks: a progress bar under the lines on a terminal, plain lines elsewhere. */
import type { WriteStream } from 'node:tty';

export type Paint = 'bold' | 'dim' | 'red' | 'green' | 'yellow';

const CODES: Readonly<Record<Paint, number>> = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33 };

const PLAIN_WIDTH = 100;
/** Without a terminal, progress is a line at most so often. */
const LINE_EVERY_MS = 4_000;

export interface Step {
  readonly done: number;
  readonly total: number;
  /** What is counted: `jobs completed`. */
  readonly what: string;
}

export class Terminal {
  readonly #out: NodeJS.WriteStream;
  readonly #begun = performance.now();
  #bar = '';
  #lineAt = -Infinity;
  #line = '';

  constructor(out: NodeJS.WriteStream = process.stdout) {
    this.#out = out;
  }

  get width(): number {
    return this.#out.isTTY ? Math.max(20, this.#out.columns || 80) : PLAIN_WIDTH;
  }

  /** Colours only where they are seen and wanted: NO_COLOR and TERM=dumb are heard. */
  paint(text: string, paint: Paint): string {
    const colours = this.#out.isTTY && (this.#out as WriteStream).hasColors();
    return colours ? `\x1b[${CODES[paint]}m${text}\x1b[0m` : text;
  }

  line(text = ''): void {
    this.#clear();
    this.#out.write(`${text}\n`);
    this.#draw();
  }

  /** A line about what happened, and when. */
  event(text: string, paint?: Paint): void {
    const time = `${((performance.now() - this.#begun) / 1000).toFixed(1)} s`.padStart(7);
    this.line(`${this.paint(time, 'dim')}  ${paint ? this.paint(text, paint) : text}`);
  }

  progress({ done, total, what }: Step): void {
    const percent = `${Math.floor((100 * done) / Math.max(1, total))} %`.padStart(5);
    const text = `${percent}  ${done} of ${total} ${what}`;
    if (this.#out.isTTY) {
      const room = Math.min(40, this.width - text.length - 5);
      const filled = Math.round((room * done) / Math.max(1, total));
      const bar = room < 5 ? '' : ` [${'#'.repeat(filled)}${'.'.repeat(room - filled)}]`;
      this.#clear();
      this.#bar = `${bar}${text}`.slice(0, this.width - 1);
      this.#draw();
    } else if (text !== this.#line && performance.now() - this.#lineAt >= LINE_EVERY_MS) {
      this.#line = text;
      this.#lineAt = performance.now();
      this.event(text.trim());
    }
  }

  /** Takes the bar away. */
  close(): void {
    this.#clear();
    this.#bar = '';
  }

  #clear(): void {
    if (this.#bar !== '') this.#out.write('\r\x1b[K');
  }

  #draw(): void {
    if (this.#bar !== '') this.#out.write(this.#bar);
  }
}

/** Breaks a text into lines at spaces; every line but the first is indented. */
export function wrap(text: string, width: number, indent: string): string {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    const longer = line === '' ? word : `${line} ${word}`;
    if (longer.length > width && line !== '') {
      lines.push(line);
      line = indent + word;
    } else line = longer;
  }
  return [...lines, line].join('\n');
}

/** What a terminal would take for a command is shown as a question mark: names of files hold anything. */
export function printable(text: string): string {
  return text.replace(/\p{C}/gu, '?');
}
