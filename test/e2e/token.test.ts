import { chmodSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parseExpiry } from '../../src/model/expiry.ts';
import { addGrant, readGrants, revokeGrant } from '../../src/server/auth/tokens.ts';
import { scratchDirectory } from '../support/devices.ts';
import { coppice, type Ran, shell } from './command.ts';

const nowhere = '/nowhere/at/all';

function token(file: string, ...args: readonly string[]): Ran {
  return coppice(nowhere, 'token', ...args, '--file', file);
}

describe('coppice token', () => {
  test('prints a new token alone, keeps only a digest, lists and revokes it', () => {
    const file = join(scratchDirectory('etc'), 'coppice', 'tokens.json');
    const made = token(file, 'create', 'ci', '--scope', 'write', '--pool', 'vms', '--expires', '30d');
    expect(made.code).toBe(0);
    expect(made.stdout).toMatch(/^coppice_[A-Za-z0-9_-]{43}\n$/);
    expect(made.stderr).toMatch(/^coppice: the token ci has write on vms, until \S+Z\. It is shown only now/);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(readFileSync(file, 'utf8')).not.toContain(made.stdout.trim());
    const host = token(file, 'create', 'host.example', '--scope', 'read', '--certificate');
    expect([host.code, host.stdout]).toEqual([0, '']);
    const listed = token(file, 'list', '--json');
    expect(JSON.parse(listed.stdout)).toMatchObject([
      { name: 'ci', kind: 'token', scope: 'write', pools: ['vms'], expired: false },
      { name: 'host.example', kind: 'certificate', scope: 'read', expired: false },
    ]);
    expect(listed.stdout).not.toContain('sha256');
    expect(token(file, 'list').stdout).toMatch(
      /^NAME +KIND +SCOPE +POOLS +EXPIRES +CREATED\nci +token +write +vms /,
    );
    expect(token(file, 'revoke', 'ci')).toMatchObject({ code: 0, stdout: 'Revoked the token ci.\n' });
    expect(token(file, 'revoke', 'ci').code).toBe(3);
    expect(readGrants(file).map(({ name }) => name)).toEqual(['host.example']);
    expect(readdirSync(join(file, '..')).sort()).toEqual(['tokens.json', 'tokens.json.lock']);
  });

  test('as JSON', () => {
    const file = join(scratchDirectory('etc'), 'tokens.json');
    const { stdout, stderr } = token(file, 'create', 'ci', '--scope', 'read', '--json');
    expect(stderr).toBe('');
    expect(JSON.parse(stdout)).toMatchObject({ name: 'ci', scope: 'read', file, token: expect.any(String) });
  });

  test.each([
    [['create', 'ci'], 2, '--scope read, --scope write or --scope admin'],
    [['create', 'ci', '--scope', 'rad'], 2, 'Did you mean "read"?'],
    [['create', 'a b', '--scope', 'read'], 2, 'is not a valid name of a token'],
    [['create', 'a\nb', '--scope', 'read', '--certificate'], 2, 'all of them visible'],
    [['create', 'ci', '--scope', 'read', '--pool', '/var/lib'], 2, 'is not a valid name of a pool'],
    [['create', 'ci', '--scope', 'read', '--expires', 'soon'], 2, '--expires: "soon" is no time'],
    [['revoke', 'nobody'], 3, 'There is no token or certificate named nobody'],
  ])('%j is refused', (args, code, said) => {
    const file = join(scratchDirectory('etc'), 'tokens.json');
    const ran = token(file, ...args);
    expect([ran.code, ran.stdout]).toEqual([code, '']);
    expect(ran.stderr).toContain(said);
    expect(readGrants(file)).toEqual([]);
  });

  test('processes that change the file at once lose nothing of one another', () => {
    const file = join(scratchDirectory('etc'), 'tokens.json');
    const names = Array.from({ length: 8 }, (_, index) => `t${index}`);
    const line = names.map((name) => `coppice token create ${name} --scope read --file ${file} &`).join(' ');
    const { code, stdout } = shell(nowhere, `${line} wait`);
    expect(code).toBe(0);
    expect(new Set(stdout.trim().split('\n')).size).toBe(names.length);
    expect(
      readGrants(file)
        .map(({ name }) => name)
        .sort(),
    ).toEqual(names);
  });
});

describe('the file of tokens', () => {
  test('is not followed through a link, and not used where others could write it', async () => {
    const directory = scratchDirectory('etc');
    const file = join(directory, 'tokens.json');
    const elsewhere = join(directory, 'elsewhere');
    writeFileSync(elsewhere, '[]\n');
    symlinkSync(elsewhere, file);
    const request = { name: 'ci', kind: 'token', scope: 'admin' } as const;
    await expect(addGrant(file, request)).rejects.toMatchObject({ code: 'damaged' });
    expect(readFileSync(elsewhere, 'utf8')).toBe('[]\n');
    const open = join(scratchDirectory('open'), 'tokens.json');
    await addGrant(open, request);
    chmodSync(open, 0o620);
    expect(() => readGrants(open)).toThrow(/can be written by others than root/);
    chmodSync(open, 0o600);
    chmodSync(join(open, '..'), 0o777);
    expect(() => readGrants(open)).toThrow(/can be written by others than root/);
    await expect(revokeGrant(open, 'ci')).rejects.toMatchObject({ code: 'invalid_argument' });
  });

  test.each(['{}', '[{}]', 'no JSON', '[{"name":"a","kind":"token","scope":"root","created":"x"}]'])(
    'that says %s gives nobody a right',
    (content) => {
      const file = join(scratchDirectory('etc'), 'tokens.json');
      writeFileSync(file, content, { mode: 0o600 });
      expect(() => readGrants(file)).toThrow(/is no list of tokens/);
    },
  );
});

describe('when a token expires', () => {
  const now = Date.parse('2027-01-01T12:00:00Z');

  test.each([
    ['12h', '2027-01-02T00:00:00.000Z'],
    ['30d', '2027-01-31T12:00:00.000Z'],
    ['8w', '2027-02-26T12:00:00.000Z'],
    ['2027-01-31', '2027-01-31T00:00:00.000Z'],
    ['2028-02-29T23:59:59Z', '2028-02-29T23:59:59.000Z'],
  ])('%s is %s', (text, at) => {
    expect(parseExpiry(text, now)).toBe(at);
  });

  test.each([
    '',
    '0d',
    '-1d',
    '30',
    '30 d',
    '1e9d',
    '999999d',
    '2027-02-30',
    '2026-12-31',
    '2027-1-5',
    '2027-01-31T12:00:00',
    'tomorrow',
  ])('%j is refused', (text) => {
    expect(() => parseExpiry(text, now)).toThrow(/^--expires: /);
  });
});
