import { appendFileSync } from 'node:fs';
import { basename } from 'node:path';
import type { TestError } from 'vitest';
import type { Reporter, TestCase, TestModule } from 'vitest/node';

/** What became of a test in a guest. */
export interface GuestResult {
  readonly file: string;
  readonly name: string;
  readonly state: 'passed' | 'failed' | 'skipped' | 'pending';
  readonly milliseconds: number;
  readonly errors: readonly string[];
}

/** Writes a line for each result when it is known, so that what is known is not lost with the guest. */
export const guestReporter: Reporter = {
  onTestCaseResult(test: TestCase): void {
    const { state, errors = [] } = test.result();
    write({
      file: nameOf(test.module),
      name: test.fullName,
      state,
      milliseconds: Math.round(test.diagnostic()?.duration ?? 0),
      errors: errors.map(told),
    });
  },
  onTestModuleEnd(module: TestModule): void {
    const file = nameOf(module);
    const milliseconds = Math.round(module.diagnostic().duration);
    const errors = module.errors().map(told);
    write({ file, name: '', state: errors.length > 0 ? 'failed' : 'passed', milliseconds, errors });
  },
};

/** Of a file, which may have been bundled. */
function nameOf({ moduleId }: TestModule): string {
  return basename(moduleId).replace(/\.[jt]s$/, '');
}

/** What was expected and what came is not in the message. */
function told({ stack, message, diff }: TestError): string {
  return [stack ?? message, diff].filter(Boolean).join('\n');
}

function write(result: GuestResult): void {
  appendFileSync(process.env['COPPICE_GUEST_RESULTS'] ?? '/dev/null', `${JSON.stringify(result)}\n`);
}
