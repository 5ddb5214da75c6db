import {
  appendFileSync,
  linkSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { Descriptor } from '../../src/linux/files.ts';
import { refusal } from '../support/errors.ts';
import { conformance, type Suite } from './suite.ts';

conformance(
  'differences of trees',
  (suite) => {
    const { needs } = suite;

    needs('treeDifferences')('tells what was added, removed, changed and renamed', async () => {
      const { pool } = suite;
      const { name, path } = await tree(suite);
      renameSync(join(path, 'directory'), join(path, 'moved'));
      appendFileSync(join(path, 'moved/inside'), 'more');
      rmSync(join(path, 'removed'));
      writeFileSync(join(path, 'added'), 'new');
      linkSync(join(path, 'kept'), join(path, 'link'));
      await pool.snapshot(`${name}@after`);
      const { counts, changes, omitted, from, to } = await pool.diff(`${name}@before`, `${name}@after`);
      expect({ counts, omitted, from, to }).toEqual({
        counts: { added: 2, removed: 1, changed: 1, renamed: 1 },
        omitted: 0,
        from: `${name}@before`,
        to: `${name}@after`,
      });
      expect(changes.map(({ kind, type, path, from }) => [kind, type, path, from])).toEqual([
        ['added', 'file', 'added', undefined],
        ['added', 'file', 'link', undefined],
        ['renamed', 'directory', 'moved', 'directory'],
        ['changed', 'file', 'moved/inside', undefined],
        ['removed', 'file', 'removed', undefined],
      ]);
      expect(changes.find(({ path }) => path === 'moved/inside')?.aspects).toEqual(['data', 'times']);
      // The other way round, what was added is removed.
      const back = await pool.diff(`${name}@after`, `${name}@before`);
      expect(back.counts).toEqual({ added: 1, removed: 2, changed: 1, renamed: 1 });
      const same = await pool.diff(`${name}@after`);
      expect(same).toMatchObject({ to: name, changes: [] });
      await pool.remove(name, { withSnapshots: true });
    });

    needs('treeDifferences')('sees what nobody has flushed, and leaves nothing behind', async () => {
      const { pool } = suite;
      const { name, path } = await tree(suite);
      {
        using file = new Descriptor(openSync(join(path, 'kept'), 'r+'));
        writeSync(file.fd, 'K');
        const { changes } = await pool.diff(`${name}@before`);
        expect(changes.map(({ kind, path }) => [kind, path])).toEqual([['changed', 'kept']]);
        writeSync(file.fd, 'EPT');
        expect((await pool.diff(`${name}@before`, name)).counts.changed).toBe(1);
      }
      await pool.remove(name, { withSnapshots: true });
    });

    needs('treeDifferences')('is right whatever was rolled back, cloned and removed between', async () => {
      const { pool } = suite;
      const { name, path } = await tree(suite);
      writeFileSync(join(path, 'second'), '2');
      await pool.snapshot(`${name}@second`);
      await pool.rollback(`${name}@before`);
      writeFileSync(join(path, 'third'), '3');
      const paths = async (from: string, to?: string): Promise<string[]> =>
        (await pool.diff(from, to)).changes.map(({ kind, path }) => `${kind} ${path}`);
      expect(await paths(`${name}@second`)).toEqual(['removed second', 'added third']);
      expect(await paths(`${name}@before`)).toEqual(['added third']);
      const [clone, template] = [suite.name(), suite.name()];
      await pool.clone(`${name}@second`, clone);
      rmSync(join(await pool.diskPath(clone), 'kept'));
      expect(await paths(name, clone)).toEqual(['removed kept', 'added second', 'removed third']);
      await pool.seal(clone, template);
      expect(await paths(clone, template)).toEqual([]);
      expect(await paths(template, `${name}@second`)).toEqual(['added kept']);
      // What the present state comes from is gone, and with it where that came from.
      await pool.remove(`${name}@before`);
      expect(await paths(`${name}@second`)).toEqual(['removed second', 'added third']);
      await pool.remove([clone, template, name], { withSnapshots: true });
    });

    needs('treeDifferences')('tells every name to the byte, and no more than it was asked for', async () => {
      const { pool } = suite;
      const { name, path } = await tree(suite);
      const names = ['a\nb', '\x1b[2J', 'c -> d', '\xff\xfe', 'é'].map((text) =>
        Buffer.from(text, text === 'é' ? 'utf8' : 'latin1'),
      );
      for (const each of names) writeFileSync(Buffer.concat([Buffer.from(`${path}/`), each]), '');
      const { changes } = await pool.diff(`${name}@before`);
      const told = changes.map(({ path, pathBase64 }) =>
        Buffer.from(pathBase64 ?? path, pathBase64 ? 'base64' : 'utf8'),
      );
      expect(told).toEqual(names.sort(Buffer.compare));
      expect(changes.filter(({ pathBase64 }) => pathBase64 !== undefined)).toHaveLength(1);
      const few = await pool.diff(`${name}@before`, undefined, { limit: 2 });
      expect(few).toMatchObject({ omitted: 3, counts: { added: 5 }, changes: changes.slice(0, 2) });
      await pool.remove(name, { withSnapshots: true });
    });

    needs('treeDifferences')('refuses what makes no sense', async () => {
      const { pool } = suite;
      const { name } = await tree(suite);
      expect((await refusal(() => pool.diff(name), 'invalid_argument')).message).toContain(
        `${name}@SNAPSHOT`,
      );
      await refusal(() => pool.diff(`${name}@none`), 'not_found');
      await refusal(() => pool.diff(`${name}@before`, 'none'), 'not_found');
      for (const limit of [-1, 0.5, Number.NaN])
        await refusal(() => pool.diff(`${name}@before`, name, { limit }), 'invalid_argument');
      await pool.remove(name, { withSnapshots: true });
    });

    needs('blockVolumes')('a disk is refused', async () => {
      const { pool } = suite;
      const { name } = await suite.volume();
      await pool.snapshot(`${name}@s`);
      await refusal(() => pool.diff(`${name}@s`), 'unsupported');
      await pool.remove(name, { withSnapshots: true });
    });
  },
  { inline: false },
);

async function tree({ pool, name: unique }: Suite): Promise<{ name: string; path: string }> {
  const name = unique('tree');
  await pool.create(name, { kind: 'tree' });
  const path = await pool.diskPath(name);
  mkdirSync(join(path, 'directory'));
  for (const file of ['directory/inside', 'kept', 'removed']) writeFileSync(join(path, file), `${file}\n`);
  await pool.snapshot(`${name}@before`);
  return { name, path };
}
