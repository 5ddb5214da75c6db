import { buildCommand, type Command } from '@stricli/core';
import { version } from '../../model/version.ts';
import { print, reporting } from '../command.ts';
import { type CliContext, jsonFlag, withExamples } from '../context.ts';

export const versionCommand: Command<CliContext> = buildCommand<{ readonly json: boolean }, [], CliContext>({
  docs: {
    brief: 'Print the version of Coppice, Node and the kernel',
    fullDescription: withExamples(
      'Prints the version of Coppice, of Node, which runs it, and of the kernel, whose file systems it uses. "coppice --version" prints the first alone.',
      'coppice version',
      'coppice version --json',
    ),
  },
  parameters: { flags: { json: jsonFlag } },
  func: reporting(async (context, flags: { readonly json: boolean }) => {
    const { release } = await import('node:os');
    const versions = { coppice: version, node: context.process.versions.node, kernel: release() };
    print(
      context,
      flags,
      versions,
      () => `coppice ${version} (Node ${versions.node}, Linux ${versions.kernel})`,
    );
  }),
});
