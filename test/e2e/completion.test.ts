import { existsSync, mkdirSync, readdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { skippedWithout } from '../support/needs.ts';
import { coppice } from './command.ts';
import { commandLinePool, done } from './session.ts';
import { shells } from './shells.ts';

const { directory, pool, image } = commandLinePool();

/** What the names would have a shell make that evaluated them. */
const pwned = join(directory, 'pwned');
const hostile = ['$(touch pwned)', '`touch pwned`', ';touch pwned;', 'a b', 'a\nb', '-rf', '*', '~root'];

beforeAll(() => {
  for (const name of ['vm-1', 'vm-2', 'data']) done(coppice(pool, 'create', name, '--size', '1M'));
  for (const name of ['vm-1@before', 'vm-1@after', 'data@one']) done(coppice(pool, 'snapshot', name));
  for (const name of hostile) {
    mkdirSync(join(pool, 'volumes', name));
    mkdirSync(join(pool, 'volumes', 'data', 'snapshots', name));
  }
  symlinkSync('/etc', join(pool, 'volumes', 'link'));
  mkdirSync(join(pool, 'volumes', 'linked'));
  symlinkSync('/etc', join(pool, 'volumes', 'linked', 'snapshots'));
});

for (const { name, needs, complete } of shells) {
  const skipped = skippedWithout(...needs);
  describe.skipIf(skipped !== '')(`completion in ${name}${skipped}`, () => {
    test('finishes what is the only one to fit', async () => {
      const finished: Record<string, string> = {
        'coppice clo': 'coppice clone ',
        'coppice pool persi': 'coppice pool persist ',
        'coppice clone --cou': 'coppice clone --count ',
        'coppice list --type sn': 'coppice list --type snapshot ',
        'coppice list --type=sn': 'coppice list --type=snapshot ',
        'coppice list -t sn': 'coppice list -t snapshot ',
        'coppice completion zs': 'coppice completion zsh ',
        'coppice rename da': 'coppice rename data ',
        'coppice clone ba': 'coppice clone base ',
        'coppice rollback da': 'coppice rollback data@',
        'coppice rollback vm-1@b': 'coppice rollback vm-1@before ',
        'coppice seal vm-1@a': 'coppice seal vm-1@after ',
        [`coppice --pool ${pool} show da`]: `coppice --pool ${pool} show data `,
        [`coppice show --pool=${pool} da`]: `coppice show --pool=${pool} data `,
        'coppice --pool /nowhere show da': 'coppice --pool /nowhere show da',
        'coppice create da': 'coppice create da',
        'coppice show nobody': 'coppice show nobody',
        [`coppice import t ${image.slice(0, -2)}`]: `coppice import t ${image} `,
        [`coppice pool show ${pool.slice(0, -1)}`]: `coppice pool show ${pool}/`,
        [`coppice list --pool ${pool.slice(0, -1)}`]: `coppice list --pool ${pool}/`,
        [`coppice list --pool=${pool.slice(0, -1)}`]: `coppice list --pool=${pool}/`,
      };
      const lines = Object.keys(finished);
      const results = await complete(pool, lines);
      expect(Object.fromEntries(lines.map((line, index) => [line, results[index]]))).toEqual(finished);
    });

    test('offers all that fit, and none that could hurt', async () => {
      const lines = [
        'coppice show ',
        'coppice remove vm-1 ',
        'coppice rollback ',
        'coppice show link',
        'coppice path data@',
      ];
      const results = await complete(pool, lines, 'all');
      expect(results.map((line) => line.trimEnd())).toEqual([
        'coppice show base data linked vm-1 vm-2',
        'coppice remove vm-1 base data linked vm-2',
        'coppice rollback data@ vm-1@',
        'coppice show linked',
        'coppice path data@one',
      ]);
      expect(existsSync(pwned)).toBe(false);
    });
  });
}

describe('what a shell asks', () => {
  const answer = (...args: string[]): string => {
    const { code, stdout, stderr } = coppice(pool, '__complete', ...args);
    expect([code, stderr]).toEqual([0, '']);
    return stdout;
  };

  test('leaves the pool as it is, and what a dead process left there', () => {
    const left = join(pool, '.tombstones', 'left-by-the-dead');
    mkdirSync(left);
    expect(answer('coppice show vm-')).toBe('words\nvm-1\nvm-2\n');
    expect(readdirSync(join(pool, '.tombstones'))).toEqual(['left-by-the-dead']);
    done(coppice(pool, 'list'));
    expect(readdirSync(join(pool, '.tombstones'))).toEqual([]);
  });

  test('is answered without a word where there is no pool, nothing to read or no sense in the line', () => {
    const nothing = ['/nowhere', image, '/proc/self/mem', `${pool}/volumes/../..`, '~nobody'];
    for (const path of nothing) expect(answer(`coppice --pool ${path} show `)).toBe('words\n');
    for (const line of [
      '',
      'coppice nonsense ',
      'coppice list --nonsense ',
      'coppice show @',
      'coppice show ../@',
    ])
      expect(answer(line)).toMatch(/^words\n/);
    expect(answer('coppice rollback ../../etc@')).toBe('words\n');
    expect(answer('coppice rollback linked@')).toBe('words\n');
  });
});
