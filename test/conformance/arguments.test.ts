import { describe, expect, test } from 'vitest';
import {
  createPool,
  describeLoss,
  destroyPool,
  doctor,
  freezeGuest,
  growPool,
  notifyHypervisor,
  openPool,
  parseSize,
  persistPool,
} from '../../src/index.ts';
import { refusal } from '../support/errors.ts';
import { conformance } from './suite.ts';

/** What a caller without types may give. */
type Untyped = (...given: readonly unknown[]) => unknown;

conformance('arguments of a wrong type', (suite) => {
  const method = (name: string): Untyped => {
    const found = Reflect.get(suite.pool, name) as Untyped;
    return (...given) => Reflect.apply(found, suite.pool, given);
  };

  test.each<readonly [string, readonly unknown[], string]>([
    ['import', [5, '/image'], 'name must be a string, and not a number'],
    ['import', ['t', '/image', null], 'options must be an object, and not null'],
    ['import', ['t', '/image', { signal: 5 }], 'options.signal must be an AbortSignal, and not a number'],
    ['export', ['t', ['/file']], 'file must be a string, and not an array'],
    ['create', [undefined, { bytes: 1 }], 'name must be a string, and not left out'],
    ['create', ['v'], 'options must be an object, and not left out'],
    ['create', ['v', { bytes: '10G' }], 'a number, and not a string; parseSize() reads "10G"'],
    ['clone', ['a', 'b', 'c'], 'options must be an object, and not a string'],
    ['clone', ['a', 'b', { replicable: 'no' }], 'options.replicable must be a boolean, and not a string'],
    ['cloneMany', ['a', 'b', '3'], 'count must be a number, and not a string'],
    ['snapshot', [{}], 'references must be a string or an array of strings'],
    ['snapshot', [['a', 5]], 'references must be a string or an array of strings'],
    ['snapshot', ['a', { name: 5 }], 'options.name must be a string, and not a number'],
    ['rollback', [null], 'reference must be a string, and not null'],
    ['rename', ['a'], 'to must be a string, and not left out'],
    ['grow', [5, { bytes: 5 }], 'name must be a string, and not a number'],
    ['seal', ['a', Symbol('b')], 'template must be a string, and not a symbol'],
    ['remove', [[1]], 'references must be a string or an array of strings'],
    ['remove', [], 'references must be a string or an array of strings'],
    ['remove', ['v', { force: 'false' }], 'options.force must be a boolean, and not a string'],
    ['listSnapshots', [5], 'volume must be a string, and not a number'],
    ['show', [], 'name must be a string, and not left out'],
    ['diskPath', [5], 'reference must be a string, and not a number'],
    ['tree', [5], 'name must be a string, and not a number'],
    ['adopt', [[5]], 'sources must be a string or an array of strings'],
    ['adopt', ['d', { rename: null }], 'options.rename must be an object, and not null'],
    ['usage', ['v', null], 'options must be an object, and not null'],
  ])('pool.%s(%j) is refused by name, as a promise', async (name, given, why) => {
    const answer = method(name)(...given);
    expect(answer).toBeInstanceOf(Promise);
    const error = await refusal(() => answer, 'invalid_argument');
    expect(error.message).toContain(`pool.${name}(): `);
    expect(error.message).toContain(why);
  });

  test('every method that takes something looks at it', async () => {
    const plain = [
      'list',
      'describe',
      'vitals',
      'tombstones',
      'check',
      'sync',
      'close',
      'onBehalfOf',
      'policies',
    ];
    const names = Object.getOwnPropertyNames(Object.getPrototypeOf(suite.pool));
    for (const name of names.filter((each) => each !== 'constructor' && !plain.includes(each)))
      expect((await refusal(() => method(name)(Symbol('wrong')), 'invalid_argument')).message).toContain(
        name,
      );
  });

  test('openPool rejects', async () => {
    for (const given of [[5], [null], [suite.home.path, null], [suite.home.path, { lockTimeout: '5' }]])
      await refusal(() => (openPool as Untyped)(...given), 'invalid_argument');
  });
});

describe('functions of the library', () => {
  test.each<readonly [(...given: never[]) => unknown, readonly unknown[]]>([
    [createPool, []],
    [createPool, [null]],
    [createPool, [{ path: 5 }]],
    [createPool, [{ path: '/never/made', bytes: '10G' }]],
    [growPool, ['/never/made', '10G']],
    [growPool, [5, 5]],
    [describeLoss, []],
    [doctor, [5]],
    [doctor, ['/never/made', null]],
    [doctor, ['/never/made', { fstab: 5 }]],
    [destroyPool, ['/never/made']],
    [destroyPool, ['/never/made', { force: 'no' }]],
    [persistPool, [5, {}]],
    [notifyHypervisor, []],
    [notifyHypervisor, [{ kind: 'qmp' }, {}]],
    [notifyHypervisor, [{ kind: 'qmp', socket: '/run/never' }]],
    [notifyHypervisor, [{ kind: 'qmp', socket: '/run/never' }, {}, { timeoutMilliseconds: '5' }]],
    [freezeGuest, [{ kind: 'qemu-ga', socket: 'never' }, {}, {}]],
    [freezeGuest, [{ kind: 'qemu-ga', socket: '/run/never' }, {}]],
    [freezeGuest, [{ kind: 'qemu-ga', socket: '/run/never' }, { timeoutMilliseconds: Number.NaN }, {}]],
    [parseSize, [5]],
    [parseSize, [null]],
  ])('refuse what is no plain value of the right kind (%#)', async (run, given) => {
    await refusal(() => (run as Untyped)(...given), 'invalid_argument');
  });
});
