import { mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type MountedFileSystem, mountedFileSystem } from '../../../test/support/devices.ts';
import { performInTree, type TreeOperation, treeOperation } from '../../../test/support/tree-operations.ts';
import {
  compareWholeTrees,
  type ExpectedChange,
  readWholeTree,
  type WholeTree,
} from '../../../test/support/tree-states.ts';
import { createSnapshot, createSubvolume, destroySubvolume } from '../../linux/btrfs.ts';
import { Descriptor } from '../../linux/files.ts';
import { runProgram } from '../../linux/programs.ts';
import type { FoundChange } from '../../model/changes.ts';
import { compareTrees } from '../comparing/compare.ts';
import { filePair } from '../comparing/files.ts';
import { subvolumeDifferences } from './tree-pair.ts';

type Step =
  | { readonly line: 0 | 1; readonly operation: TreeOperation }
  | {
      readonly line: 0 | 1;
      readonly step: 'snapshot' | 'rollback' | 'branch' | 'forget';
      readonly which: number;
    }
  | { readonly step: 'remount' | 'sync' };

const line = fc.constantFrom<0 | 1>(0, 0, 0, 1);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 12, arbitrary: fc.record({ line, operation: treeOperation }) },
  { weight: 2, arbitrary: fc.record({ line, step: fc.constant('snapshot' as const), which: fc.nat(9) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      line,
      step: fc.constantFrom('rollback' as const, 'rollback' as const, 'branch' as const, 'forget' as const),
      which: fc.nat(9),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ step: fc.constantFrom('sync' as const, 'sync' as const, 'remount' as const) }),
  },
);

let fileSystem: MountedFileSystem;
beforeAll(() => {
  fileSystem = mountedFileSystem('btrfs', 2 * 2 ** 30);
});
afterAll(() => fileSystem[Symbol.dispose]());

let count = 0;

test.each(['', 'compress-force=zstd', 'nodatacow'])(
  'every two states differ in what a look at every file says (%s)',
  async (option) => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 120 }), async (steps) => {
        const history = new History(join(fileSystem.path, `run-${++count}`), option);
        for (const each of steps) history.perform(each);
        history.perform({ line: 0, step: 'snapshot', which: 0 });
        history.perform({ line: 1, step: 'snapshot', which: 0 });
        history.compareAll();
      }),
      { numRuns: Number(process.env['COPPICE_RUNS'] ?? 12), endOnFailure: true },
    );
  },
  600_000,
);

/** Two lines of states of one tree, on each of which there is a present one that can be put back to any snapshot of either. */
class History {
  readonly #path: string;
  readonly #option: string;
  readonly #snapshots: Array<{ readonly name: string; readonly whole: WholeTree }> = [];
  #made = 0;

  constructor(path: string, option: string) {
    this.#path = path;
    this.#option = option;
    mkdirSync(path);
    this.#remount();
    this.#within((directory) => createSubvolume(directory, 'live-0'));
    this.#snapshotTo('live-0', 'live-1', 'writable');
  }

  perform(each: Step): void {
    if ('operation' in each) {
      performInTree(join(this.#path, `live-${each.line}`), each.operation);
    } else if ('line' in each) {
      this.#change(`live-${each.line}`, each.step, each.which);
    } else if (each.step === 'sync') {
      runProgram('sync', ['-f', this.#path]);
    } else {
      this.#remount();
    }
  }

  #change(live: string, kind: 'snapshot' | 'rollback' | 'branch' | 'forget', which: number): void {
    if (kind === 'snapshot') {
      this.#take(live);
      return;
    }
    const index = which % Math.max(1, this.#snapshots.length);
    const source = this.#snapshots[index];
    if (!source) return;
    if (kind === 'forget') {
      this.#snapshots.splice(index, 1);
      this.#within((directory) => destroySubvolume(directory, source.name));
      return;
    }
    // A rollback keeps what it replaces as a snapshot.
    if (kind === 'rollback') this.#take(live);
    this.#within((directory) => destroySubvolume(directory, live));
    this.#snapshotTo(source.name, live, 'writable');
  }

  #take(live: string): void {
    if (this.#snapshots.length >= 7) return;
    const name = `s-${++this.#made}`;
    this.#snapshotTo(live, name, 'readonly');
    this.#snapshots.push({ name, whole: readWholeTree(join(this.#path, name)) });
  }

  compareAll(): void {
    for (const from of this.#snapshots)
      for (const to of this.#snapshots) {
        const found = this.#compare(from.name, to.name);
        expectAgreement(found, compareWholeTrees(from.whole, to.whole, 'given'));
        expectAgreement(
          this.#compareFiles(from.name, to.name),
          compareWholeTrees(from.whole, to.whole, 'seen'),
        );
      }
  }

  #compare(from: string, to: string): readonly FoundChange[] {
    using before = new Descriptor(openSync(join(this.#path, from), 'r'));
    using after = new Descriptor(openSync(join(this.#path, to), 'r'));
    return subvolumeDifferences(before.fd, after.fd).changes;
  }

  #compareFiles(from: string, to: string): readonly FoundChange[] {
    using before = new Descriptor(openSync(join(this.#path, from), 'r'));
    using after = new Descriptor(openSync(join(this.#path, to), 'r'));
    using pair = filePair(before.fd, after.fd);
    return compareTrees(pair);
  }

  #snapshotTo(source: string, name: string, access: 'readonly' | 'writable'): void {
    using opened = new Descriptor(openSync(join(this.#path, source), 'r'));
    this.#within((directory) => createSnapshot(opened.fd, directory, name, access));
  }

  #within(use: (directory: number) => void): void {
    using directory = new Descriptor(openSync(this.#path, 'r'));
    use(directory.fd);
  }

  #remount(): void {
    runProgram('umount', ['--', fileSystem.path]);
    const options = ['loop', 'noatime', this.#option].filter((each) => each !== '').join(',');
    runProgram('mount', ['-o', options, '--', fileSystem.file, fileSystem.path]);
  }
}

function expectAgreement(found: readonly FoundChange[], expected: readonly ExpectedChange[]): void {
  const shown = found.map(({ kind, path, from: source, aspects = [] }, index) => {
    // What was written anew as it was is told as written; the time of that is different, too.
    const isRewritten = aspects.includes('times') && !expected[index]?.aspects.includes('data');
    return { kind, path, source, aspects: aspects.filter((each) => !(isRewritten && each === 'data')) };
  });
  expect(shown).toEqual(
    expected.map(({ kind, path, from: source, aspects }) => ({ kind, path, source, aspects })),
  );
  const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
  expect(sum(found.map(({ bytes = 0 }) => bytes))).toBeLessThanOrEqual(
    sum(expected.map(({ atMost }) => atMost)),
  );
  for (const [index, { bytes = 0, kind }] of found.entries())
    if (kind === 'changed' && bytes > 0) expect(bytes).toBeGreaterThanOrEqual(expected[index]?.atLeast ?? 0);
}
