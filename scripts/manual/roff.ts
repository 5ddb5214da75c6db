/** The few requests of man(7) that the manual is made of. What comes in is plain text: each of these makes it safe for roff. */

/** @param edition what stands in the margins */
export function title(name: string, edition: { readonly version: string; readonly date: string }): string {
  return `.TH ${quoted(name.toUpperCase())} 1 ${quoted(edition.date)} ${quoted(`Coppice ${edition.version}`)} "Coppice"`;
}

export function section(name: string, ...blocks: readonly string[]): string {
  return [`.SH ${quoted(name)}`, ...blocks].join('\n');
}

export function paragraphs(text: string): string {
  return text
    .split(/\n+/)
    .map((paragraph) => plain(paragraph))
    .join('\n.PP\n');
}

/** Terms, each with what it means below it. */
export function definitions(rows: ReadonlyArray<readonly [term: string, meaning: string]>): string {
  return rows.map(([term, meaning]) => `.TP\n${term}\n${plain(meaning)}`).join('\n');
}

/** Lines as they are, such as commands to type. */
export function verbatim(lines: readonly string[]): string {
  return ['.EX', ...lines.map((line) => literal(line)), '.EE'].join('\n');
}

/** Text to read: it is filled, and its marks may be typographic. Words in backticks are to be typed. */
export function plain(text: string): string {
  const parts = text.split(/`([^`]*)`/);
  return wrapped(parts.map((part, index) => (index % 2 === 0 ? readable(part) : bold(part))).join(''));
}

/** Text to type, or to compare: every character stays what it is. */
export function literal(text: string): string {
  return safeLines(backslashes(text).replace(/[-'^~`]/g, (mark) => literalMarks[mark] ?? mark));
}

export function bold(text: string): string {
  return `\\fB${literal(text)}\\fR`;
}

export function italic(text: string): string {
  return `\\fI${literal(text)}\\fR`;
}

const literalMarks: Readonly<Record<string, string>> = {
  '-': '\\-',
  "'": '\\(aq',
  '^': '\\(ha',
  '~': '\\(ti',
  '`': '\\(ga',
};

function readable(text: string): string {
  return backslashes(text).replace(/(?<=^|\s)--(?=\w)/g, '\\-\\-');
}

function backslashes(text: string): string {
  return text.replaceAll('\\', '\\e');
}

/** Into lines that are short enough to be edited, which is all that a line end in the source means. */
export function wrapped(text: string): string {
  return safeLines(text.replace(/(?=.{78})(\S.{0,76}) /g, '$1\n'));
}

/** A dot or a quote at the beginning of a line would make it a request. */
function safeLines(text: string): string {
  return text.replace(/^(?=[.'])/gm, '\\&');
}

function quoted(text: string): string {
  return `"${backslashes(text).replaceAll('"', '\\(dq')}"`;
}
