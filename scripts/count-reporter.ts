import type { Reporter, TestModule } from 'vitest/node';

/** Ends a run with one plain line of counts, the same for people and for programs that read logs. */
export const countReporter: Reporter = {
  onTestRunEnd(modules, unhandledErrors) {
    const states = modules.flatMap((module) =>
      [...module.children.allTests()].map((test) => test.result().state),
    );
    const count = (wanted: string): number => states.filter((state) => state === wanted).length;
    const failed = count('failed') + modules.filter(isBrokenOutsideTests).length + unhandledErrors.length;
    // Vitest's own summary goes out in the same turn; this line comes after it.
    setImmediate(() => {
      console.log(`tests: ${count('passed')} passed, ${failed} failed, ${count('skipped')} skipped`);
    });
  },
};

/** A file that can't be loaded, or whose hooks fail, has no failed test of its own to count. */
function isBrokenOutsideTests(module: TestModule): boolean {
  return module.errors().length > 0;
}
