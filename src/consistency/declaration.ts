import { CoppiceError, didYouMean } from '../model/errors.ts';

/**
 * The value of a setting that declares an application: parts with commas between them. The first may stand alone and says where the
 * application is; each other is KEY=VALUE. A comma within a value is written `\,`, and a backslash `\\`.
 */
export interface Declaration {
  /** Its setting without "quiesce.", for sentences: `postgres`. */
  readonly name: string;
  readonly where: string | undefined;
  readonly fields: Readonly<Record<string, string>>;
}

/**
 * @param keys those that there are
 * @throws CoppiceError invalid_argument
 */
export function parseDeclaration(name: string, text: string, keys: readonly string[]): Declaration {
  const parts = (text.match(/(\\.|[^,\\])+/gs) ?? []).map((part) => part.replace(/\\(.)/gs, '$1'));
  const [first = '', ...rest] = parts;
  const isAlone = !/^[a-z-]+=/.test(first);
  const fields: Record<string, string> = Object.create(null);
  for (const part of isAlone ? rest : parts) {
    const [, key = '', value = ''] = /^([a-z-]+)=(.+)$/s.exec(part) ?? [];
    if (!keys.includes(key)) {
      throw invalidDeclaration(
        name,
        `"${part}" is not understood.${didYouMean(key, keys)} It takes ${keys.map((each) => `${each}=`).join(', ')}`,
      );
    }
    fields[key] = value;
  }
  return { name, where: isAlone && first !== '' ? first : undefined, fields };
}

export function invalidDeclaration(name: string, why: string): CoppiceError {
  return new CoppiceError('invalid_argument', `The setting quiesce.${name} can't be used: ${why}.`);
}

/** A number of seconds of a declaration, as milliseconds. @throws CoppiceError invalid_argument */
export function secondsOf({ name, fields }: Declaration, key: string): number | undefined {
  const text = fields[key];
  if (text === undefined) return undefined;
  if (/^\d{1,6}(\.\d{1,3})?$/.test(text) && Number(text) > 0) return Number(text) * 1000;
  throw invalidDeclaration(name, `${key}=${text} is no number of seconds, such as 5 or 0.5`);
}

/** A path inside the volume, without a way out of it; "." is the volume itself. @throws CoppiceError invalid_argument */
export function pathInVolume({ name, where }: Declaration): string {
  const path = where ?? '.';
  const isInside = !path.startsWith('/') && path.split('/').every((part) => part !== '..' && part !== '');
  if (isInside) return path;
  throw invalidDeclaration(name, `"${path}" must be a path from the directory of the volume, without ".."`);
}
