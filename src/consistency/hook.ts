import { checkTimeout } from '../linux/time-limit.ts';
import { invalidDeclaration, parseDeclaration, secondsOf } from './declaration.ts';
import { ProgramAround } from './program-around.ts';
import { type Quiescer, usualLimits } from './quiescer.ts';

/**
 * `quiesce.hook`: a program of the user's own, run as `PROGRAM pre` before the snapshot and as `PROGRAM post` after it.
 * @throws CoppiceError invalid_argument
 */
export function make(name: string, value: string): Quiescer {
  const declaration = parseDeclaration(name, value, ['timeout']);
  const { where } = declaration;
  if (where === undefined || !/^\/[^\0]+$/.test(where))
    throw invalidDeclaration(name, 'it begins with the absolute path of a program');
  return new ProgramAround({
    setting: `quiesce.${name}`,
    name,
    level: 'application',
    program: where,
    thing: `hook ${where}`,
    words: async () => ({ pre: ['pre'], post: ['post'] }),
    milliseconds: checkTimeout(secondsOf(declaration, 'timeout') ?? usualLimits.hold),
    details: { hook: where },
  });
}
