import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { coppice } from './command.ts';
import { commandLinePool, done, refused } from './session.ts';

const { pool } = commandLinePool();
const say = (...args: readonly string[]): string => done(coppice(pool, ...args));

test('what has changed in a tree is told in words, and as it is for programs', () => {
  say('create', 'data', '--kind', 'tree');
  const path = say('path', 'data').trim();
  writeFileSync(join(path, 'old'), 'x');
  say('snapshot', 'data@before');
  expect(say('diff', 'data@before')).toBe('data@before -> data: no changes\n');
  renameSync(join(path, 'old'), join(path, 'new'));
  writeFileSync(join(path, 'two\nlines\x1b[2J'), 'abc');
  writeFileSync(Buffer.concat([Buffer.from(`${path}/`), Buffer.from([0xff])]), '');
  say('snapshot', 'data@after');
  const summary = 'data@before -> data@after: 2 added (3 B), 1 renamed\n';
  expect(say('diff', 'data@before', 'data@after')).toBe(
    `${summary}R           old -> new\n+      3 B  two\\u000alines\\u001b[2J\n+           \\xff\n`,
  );
  expect(say('diff', 'data@before', 'data@after', '--summary')).toBe(summary);
  const few = coppice(pool, 'diff', 'data@before', 'data@after', '--limit', '1');
  expect(few).toMatchObject({ code: 0, stderr: 'coppice: 2 more are not listed.\n' });
  const told = JSON.parse(say('diff', 'data@before', 'data@after', '--json'));
  expect(told).toMatchObject({
    counts: { added: 2, removed: 0, changed: 0, renamed: 1 },
    method: 'generations',
  });
  expect(told.changes[2]).toMatchObject({ path: '\ufffd', pathBase64: '/w==' });
});

test('a limit that is none is refused', () => {
  expect(refused(coppice(pool, 'diff', 'data@before', '--limit', 'few'), 2)).toContain(
    '"few" is not a valid limit',
  );
});
