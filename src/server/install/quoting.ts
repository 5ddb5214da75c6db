import { CoppiceError } from '../../model/errors.ts';

/**
 * A word of a command in a unit, as systemd reads it back: quoted where it is not plain, and with what stands for something else
 * doubled, as systemd.service(5), "Command lines", and systemd.unit(5), "Specifiers", say.
 * @throws CoppiceError invalid_argument for what no unit can say
 */
export function commandWord(text: string): string {
  requireOneLine(text);
  const escaped = text.replaceAll('%', '%%').replaceAll('$', '$$$$');
  return /^[\w@/.:,=+%$-]+$/.test(escaped) ? escaped : quoted(escaped);
}

/** A path in a list of paths, such as RequiresMountsFor=, in which nothing stands for a variable. */
export function listedPath(path: string): string {
  requireOneLine(path);
  const escaped = path.replaceAll('%', '%%');
  return /^[\w@/.:,=+%$-]+$/.test(escaped) ? escaped : quoted(escaped);
}

/** A value that is one path to the end of its line. */
export function wholeLine(path: string): string {
  requireOneLine(path);
  return path.replaceAll('%', '%%');
}

/** In a configuration of logrotate. */
export function logrotatePath(path: string): string {
  requireOneLine(path);
  if (/["\\*?[\]{}]/.test(path))
    throw new CoppiceError(
      'invalid_argument',
      `${JSON.stringify(path)} can't be said to logrotate; choose a path for --audit-log without " \\ * ? [ ] { }.`,
    );
  return `"${path}"`;
}

function quoted(text: string): string {
  return `"${text.replace(/["\\]/g, '\\$&')}"`;
}

function requireOneLine(text: string): void {
  if (!/[\p{Cc}]/u.test(text)) return;
  throw new CoppiceError(
    'invalid_argument',
    `${JSON.stringify(text)} has a line break or a control character in it, which a unit of systemd can't say.`,
  );
}
