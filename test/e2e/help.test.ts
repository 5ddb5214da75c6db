import { describe, expect, test } from 'vitest';
import { coppice } from './command.ts';

const nowhere = '/nowhere/at/all';

const commands = [
  '',
  'pool',
  ...['create', 'show', 'grow', 'persist', 'check', 'destroy'].map((name) => `pool ${name}`),
  ...[
    'import',
    'adopt',
    'create',
    'clone',
    'snapshot',
    'rollback',
    'list',
    'show',
    'tree',
    'usage',
    'path',
    'diff',
  ],
  ...['grow', 'rename', 'seal', 'remove', 'export', 'serve', 'doctor', 'completion', 'version'],
  ...['hold', 'release', 'policy'],
  ...['show', 'apply', 'verify', 'install'].map((name) => `policy ${name}`),
  'token',
  ...['create', 'list', 'revoke'].map((name) => `token ${name}`),
];

describe('help', () => {
  test.each(commands)('coppice %s --help', (name) => {
    const { code, stdout, stderr } = coppice(nowhere, ...name.split(' ').filter(Boolean), '--help');
    expect(stderr).toBe('');
    expect(code).toBe(0);
    expect(stdout).toMatchSnapshot();
  });

  test('without a command it is the help', () => {
    expect(coppice(nowhere)).toEqual(coppice(nowhere, '--help'));
  });

  test('each command shows an example', () => {
    for (const name of commands.filter((each) => !['', 'pool', 'policy', 'token'].includes(each)))
      expect(coppice(nowhere, ...name.split(' '), '--help').stdout, name).toContain(
        `EXAMPLES\n  ${name === 'path' ? 'qemu' : `coppice ${name}`}`,
      );
  });
});

describe('mistakes on the command line', () => {
  test.each([
    [['snpshot', 'vm'], 'did you mean `snapshot`?'],
    [['pool', 'creat'], 'did you mean `create`?'],
    [['clone', 'a', 'b', '--cuont', '3'], 'did you mean --count?'],
    [['list', '--type', 'volumes'], 'did you mean "volume"?'],
    [['clone', 'a'], 'Expected argument for NAME; --help says what the command takes.'],
    [['clone', 'a', 'b', 'c'], 'Too many arguments'],
    [['create', 'a'], 'Say how large a is to be: coppice create a --size 10G.'],
    [['create', 'a', '--kind', 'tre'], 'did you mean "tree"?'],
    [['clone', 'a', 'b', '--count', 'x'], '"x" is not a whole number.'],
    [['remove'], 'Expected'],
    [['pool', 'destroy'], 'Expected argument for PATH; --help says what the command takes.'],
    [['pool', 'destroy', '--pool', '/x', '/y'], 'No flag registered for --pool'],
    [['list', '--', '--json'], 'Too many arguments'],
  ])('%j', (args, said) => {
    const { code, stdout, stderr } = coppice(nowhere, ...args);
    expect(stdout).toBe('');
    expect(stderr).toContain(said);
    for (const line of stderr.trimEnd().split('\n')) expect(line).toMatch(/^coppice: .*[.?]$/);
    expect(code).toBe(2);
  });

  test('are JSON where JSON was asked for', () => {
    for (const args of [
      ['list', '--jsn', '--json'],
      ['snap', '--json'],
      ['--json', 'list', '--foo'],
    ]) {
      const { code, stdout, stderr } = coppice(nowhere, ...args);
      expect(code).toBe(2);
      expect(stdout).toBe('');
      expect(JSON.parse(stderr)).toMatchObject({ error: { code: 'invalid_argument' } });
    }
  });
});
