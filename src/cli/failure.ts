import { CoppiceError, type ErrorCode } from '../model/errors.ts';
import { printable, printableLines } from '../model/printable.ts';

/** The exit code for each kind of failure; documented in docs/errors.md, and stable. */
export const exitCodes: Readonly<Record<ErrorCode | 'usage' | 'internal', number>> = {
  internal: 1,
  io_error: 1,
  damaged: 1,
  missing_tool: 1,
  usage: 2,
  invalid_argument: 2,
  not_found: 3,
  already_exists: 4,
  blocked: 5,
  busy: 5,
  no_space: 6,
  not_a_pool: 7,
  unsupported: 7,
  invalid_image: 8,
  checksum_mismatch: 8,
  permission_denied: 9,
  cancelled: 130,
};

/** A failure that is ready to be shown: its message is the whole text. */
export class Shown extends Error {
  readonly exitCode: number;

  constructor(text: string, exitCode: number) {
    super(text);
    this.exitCode = exitCode;
  }
}

export function showFailure(error: unknown, json: boolean): Shown {
  if (error instanceof Shown) return error;
  if (error instanceof CoppiceError) {
    const text = json ? JSON.stringify({ error: error.toJSON() }) : forPeople(error);
    return new Shown(text, exitCodes[error.code]);
  }
  // A defect of ours: everything that helps to find it.
  const trace = error instanceof Error ? (error.stack ?? error.message) : String(error);
  const text = json
    ? JSON.stringify({ error: { code: 'internal', message: trace } })
    : `coppice: unexpected error, please report it:\n${printableLines(trace)}`;
  return new Shown(text, exitCodes.internal);
}

function forPeople(error: CoppiceError): string {
  if (error.blockers.length < 2) return printable(`coppice: ${error.message}`);
  const lines = error.blockers
    .slice(0, 20)
    .map((blocker) => printable(`  - ${blocker.what}: ${blocker.remedy}`));
  const more = error.blockers.length > 20 ? [`  and ${error.blockers.length - 20} more`] : [];
  return [printable(`coppice: ${error.message.split(': ')[0]}:`), ...lines, ...more].join('\n');
}
