import { buildCommand, type Command } from '@stricli/core';
import { print, reporting } from '../command.ts';
import { type CliContext, choice, withExamples } from '../context.ts';

const shells = ['bash', 'zsh', 'fish'] as const;
type Shell = (typeof shells)[number];

export const completionCommand: Command<CliContext> = buildCommand<Record<never, never>, [Shell], CliContext>(
  {
    docs: {
      brief: 'Print the script that lets a shell complete commands, flags and names',
      fullDescription: withExamples(
        'Prints the script that lets a shell complete commands, flags, values, and the names of volumes, templates and snapshots. It asks this command each time, so it need not be printed again after an update.',
        'coppice completion bash > /usr/share/bash-completion/completions/coppice',
        'coppice completion zsh > /usr/share/zsh/vendor-completions/_coppice',
        'coppice completion fish > /usr/share/fish/vendor_completions.d/coppice.fish',
        'source <(coppice completion bash)',
      ),
    },
    parameters: {
      positional: { kind: 'tuple', parameters: [choice('SHELL', 'bash, zsh or fish', shells)] },
    },
    func: reporting(async (context, _flags: Record<never, never>, shell: Shell) => {
      const { scripts } = await import('../completion/scripts.ts');
      print(context, { json: false }, undefined, () => scripts[shell].trimEnd());
    }),
  },
);
