import { describe, expect, test } from 'vitest';
import { type KernelFacts, kernelBugs } from './kernel-bugs.ts';

const facts: KernelFacts = {
  release: '6.1.0-18-amd64',
  fileSystem: 'btrfs',
  checksums: true,
  rootRights: true,
};
const found = (changed: Partial<KernelFacts>): string[] =>
  kernelBugs({ ...facts, ...changed }).map(({ id }) => id);

describe('known faults of kernels', () => {
  test.each([
    ['5.10.0', 1],
    ['6.1.0-18-amd64', 1],
    ['6.9.12', 1],
    ['6.14.11-arch1-1', 1],
    ['6.15.0-rc1', 0],
    ['6.15', 0],
    ['6.100.1', 0],
    ['7.0.0', 0],
  ])('on %s there are %i for root on btrfs', (release, count) => {
    expect(found({ release })).toHaveLength(count);
  });

  test('are told only to whom they concern', () => {
    expect(found({})).toEqual(['kernel.bug.direct-io-checksums']);
    expect(found({ checksums: false })).toEqual([]);
    expect(found({ fileSystem: 'xfs' })).toEqual([]);
    expect(found({ release: '6.18.1', rootRights: false })).toEqual(['kernel.bug.start-sync']);
  });

  test('say what to do, and where they are known from', () => {
    for (const finding of kernelBugs({ ...facts, rootRights: false })) {
      expect(finding.subject).toBe('Linux 6.1.0-18-amd64');
      expect(finding.message).toMatch(/\(.+\)$/);
      expect(finding.remedy).toMatch(/\.$/);
    }
  });
});
