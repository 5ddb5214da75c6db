import { buildCommand, type Command } from '@stricli/core';
import { CoppiceError, didYouMean } from '../../model/errors.ts';
import { note, print, reporting } from '../command.ts';
import { type CliContext, optionalWord, type PoolFlags, poolFlags, withExamples, word } from '../context.ts';

export const getCommand: Command<CliContext> = buildCommand<PoolFlags, [string, string?], CliContext>({
  docs: {
    brief: 'Show what is set for a volume',
    fullDescription: withExamples(
      'Shows the settings of a volume, or the value of one of them alone.',
      'coppice get crypt',
      'coppice get crypt quiesce.postgres',
    ),
  },
  parameters: {
    flags: poolFlags,
    positional: {
      kind: 'tuple',
      parameters: [word('VOLUME', 'A volume', 'entry'), optionalWord('NAME', 'The name of a setting')],
    },
  },
  func: reporting(async (context, flags: PoolFlags, volume: string, name?: string) => {
    const { withPool } = await import('../session.ts');
    const settings = await withPool(context, flags, (pool) => pool.settings(volume));
    if (name === undefined) {
      const lines = Object.entries(settings).map(([key, value]) => `${key}=${value}`);
      print(context, flags, settings, () => lines.join('\n'));
      if (lines.length === 0 && !flags.json) note(context, `coppice: Nothing is set for ${volume}.`);
      return;
    }
    const value = settings[name];
    if (value === undefined) {
      throw new CoppiceError(
        'not_found',
        `${name} is not set for ${volume}.${didYouMean(name, Object.keys(settings))}`,
      );
    }
    print(context, flags, { [name]: value }, () => value);
  }),
});
