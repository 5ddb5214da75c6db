import { expect, test } from 'vitest';
import { digest, digestOf, patternBytes, writePattern } from '../support/content.ts';
import { conformance } from './suite.ts';

const MiB = 2 ** 20;
const state = (seed: number): string => digestOf(patternBytes(seed, MiB));

/** What is said to be immutable, and was changed with the file system's own tools: it is told, and nothing is refused for it. */
conformance(
  'what was changed behind',
  (suite) => {
    const { tools, capabilities } = suite.backend;

    /** Writes into what is read-only, and makes it read-only again. */
    const tamper = async (reference: string, seed: number): Promise<void> => {
      const disk = await suite.pool.diskPath(reference);
      tools.setReadOnly(disk, false);
      writePattern(disk, seed, 0, MiB);
      tools.setReadOnly(disk, true);
    };

    const prepared = async (): Promise<string> => {
      const { name, path } = await suite.volume();
      writePattern(path, 1, 0, MiB);
      await suite.pool.snapshot(`${name}@s`);
      writePattern(path, 2, 0, MiB);
      await suite.pool.snapshot(`${name}@untouched`);
      return name;
    };

    const findings = async (subject: string): Promise<string[]> =>
      (await suite.pool.check())
        .filter((finding) => finding.subject === subject && finding.severity === 'error')
        .map((finding) => finding.message);

    suite.needs('snapshots')('a snapshot that was written is reported, and only that one', async () => {
      const name = await prepared();
      expect(await findings(`${name}@s`)).toEqual([]);
      await tamper(`${name}@s`, 3);
      expect((await findings(`${name}@s`)).join()).toMatch(/has changed since it was taken/);
      expect(await findings(`${name}@untouched`)).toEqual([]);
      expect((await suite.pool.show(name)).problems.join()).toMatch(/@s has changed since it was taken/);
    });

    suite.needs('snapshots')('a snapshot that was only made writable is reported', async () => {
      const name = await prepared();
      tools.setReadOnly(await suite.pool.diskPath(`${name}@s`), false);
      expect((await findings(`${name}@s`)).join()).toMatch(/made writable/);
    });

    suite.needs('snapshots')('a snapshot whose data was replaced is reported', async () => {
      const name = await prepared();
      const disk = await suite.pool.diskPath(`${name}@s`);
      tools.removeData(disk);
      tools.copyData(await suite.pool.diskPath(name), disk, 'readonly');
      expect((await findings(`${name}@s`)).join()).toMatch(/has changed since it was taken/);
    });

    suite.needs('snapshots')('a rollback to a changed snapshot does it, and says so', async () => {
      const name = await prepared();
      expect(await suite.pool.rollback(`${name}@untouched`)).not.toHaveProperty('warnings');
      await tamper(`${name}@s`, 3);
      const asked = await suite.pool.rollback(`${name}@s`, { dryRun: true });
      expect(asked.warnings?.join()).toMatch(/@s has changed since it was taken/);
      const done = await suite.pool.rollback(`${name}@s`);
      expect(done.warnings).toEqual(asked.warnings);
      expect(digest(await suite.pool.diskPath(name))).toBe(state(3));
      expect(digest(await suite.pool.diskPath(done.undo ?? ''))).toBe(state(2));
    });

    suite.needs('snapshots')('a clone of a changed snapshot is made, and says so', async () => {
      const name = await prepared();
      expect(await suite.pool.clone(`${name}@s`, suite.name())).not.toHaveProperty('warnings');
      await tamper(`${name}@s`, 3);
      const cloned = await suite.pool.clone(`${name}@s`, suite.name());
      expect(cloned.warnings?.join()).toMatch(/@s has changed since it was taken/);
      expect(digest(await suite.pool.diskPath(cloned.name))).toBe(state(3));
    });

    test('a clone of a changed template is made, and says so; a live volume changes as it likes', async () => {
      const name = await prepared();
      const template = suite.name('t');
      await suite.pool.seal(name, template);
      expect(await suite.pool.clone(template, suite.name())).not.toHaveProperty('warnings');
      await tamper(template, 3);
      for (const options of capabilities['replicableClones'] === true ? [{}, { replicable: true }] : [{}]) {
        const cloned = await suite.pool.clone(template, suite.name(), options);
        expect(cloned.warnings?.join()).toMatch(/changed since it was sealed/);
      }
      writePattern(await suite.pool.diskPath(name), 4, 0, MiB);
      expect(await suite.pool.clone(name, suite.name())).not.toHaveProperty('warnings');
    });
  },
  { needs: 'directories' },
);
