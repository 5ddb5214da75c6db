import { expect, test } from 'vitest';
import { CoppiceError } from '../model/errors.ts';
import { checkFreezeTarget, parseFreezeTarget } from './freeze-target.ts';

test('reads a socket, whatever is in its name', () => {
  expect(parseFreezeTarget('qemu-ga:/run/vm,1:a.sock')).toEqual({
    kind: 'qemu-ga',
    socket: '/run/vm,1:a.sock',
  });
});

test.each(['', 'qemu-ga', 'qemu-ga:', 'qemu-ga:run/a.sock', 'qmp:/run/a.sock', 'qemu-ga:/run/a\0'])(
  'refuses %j',
  (text) => {
    expect(() => parseFreezeTarget(text)).toThrow(CoppiceError);
  },
);

test.each([null, 5, {}, { kind: 'qemu-ga' }, { kind: 'qemu-ga', socket: '/a', more: 1 }])(
  'refuses from outside %j',
  (value) => {
    expect(() => checkFreezeTarget(value)).toThrow(CoppiceError);
  },
);
