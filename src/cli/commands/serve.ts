import { buildCommand, type Command } from '@stricli/core';
import { CoppiceError, isErrorData } from '../../model/errors.ts';
import type { ServeFlags } from '../../server/options.ts';
import { reporting } from '../command.ts';
import { type CliContext, optionalText, toggle, withExamples } from '../context.ts';

export const serveCommand: Command<CliContext> = buildCommand<ServeFlags, [], CliContext>({
  docs: {
    brief: 'Serve pools by gRPC and JSON',
    fullDescription: withExamples(
      'Serves pools over a unix socket, and over the network with TLS: gRPC, gRPC-web and JSON on the same socket, metrics at /metrics. The command line and the library work beside it. It stays in the foreground; --install makes it a service of systemd.',
      'coppice serve',
      'coppice serve --pool vms=/var/lib/coppice --pool fast=zfs:vmpool --group coppice',
      'coppice serve --listen 0.0.0.0:7443 --tls-cert cert.pem --tls-key key.pem',
      'coppice serve --install --group coppice',
      'curl --unix-socket /run/coppice/coppice.sock http://coppice/metrics',
    ),
  },
  parameters: {
    flags: {
      pool: {
        ...optionalText(
          '[NAME=]PATH',
          'A pool, and what clients call it [default = default=$COPPICE_POOL, else default=/var/lib/coppice]',
        ),
        variadic: true,
      },
      socket: optionalText('PATH', 'The unix socket [default = /run/coppice/coppice.sock]', 'file'),
      group: optionalText('GROUP', 'Whose members may use the socket [default = only root]'),
      socketScope: optionalText('SCOPE', 'What they may do: read, write or admin [default = write]'),
      listen: optionalText('HOST:PORT', 'Listen on the network, too, with TLS'),
      tlsCert: optionalText('FILE', 'The certificate of the server, in PEM', 'file'),
      tlsKey: optionalText('FILE', 'Its key, in PEM', 'file'),
      tlsClientCa: optionalText(
        'FILE',
        'The authority of certificates that clients may show instead of a token',
        'file',
      ),
      tokens: optionalText(
        'FILE',
        'Where "coppice token" keeps who may do what [default = /etc/coppice/tokens.json]',
        'file',
      ),
      imageDirectory: {
        ...optionalText(
          'PATH',
          'A directory where clients who are no admins may read and write images',
          'directory',
        ),
        variadic: true,
      },
      socketDirectory: {
        ...optionalText(
          'PATH',
          'A directory of sockets of hypervisors and guests that such clients may name',
          'directory',
        ),
        variadic: true,
      },
      hook: {
        ...optionalText('NAME=PROGRAM', 'A program that clients can name, to be run when a disk has grown'),
        variadic: true,
      },
      state: optionalText(
        'PATH',
        'Where jobs and request ids are kept [default = /var/lib/coppice-daemon]',
        'directory',
      ),
      auditLog: optionalText(
        'FILE',
        'Where changes are told [default = /var/log/coppice/audit.jsonl]',
        'file',
      ),
      logLevel: optionalText('LEVEL', 'debug, info, warn or error [default = info]'),
      install: toggle('Write the units of systemd for a service with these flags, and tell what to do next'),
      unitDirectory: optionalText(
        'PATH',
        'Where --install writes, for tests and for images of other machines [default = /etc/systemd/system]',
        'directory',
      ),
    },
    positional: { kind: 'tuple', parameters: [] },
  },
  func: reporting(async (context, flags: ServeFlags & { readonly json?: boolean }) => {
    const { serve } = await loadServer();
    await serve(context.process, flags).catch((error: unknown) => {
      throw ours(error);
    });
  }),
});

/** The built server has a copy of the class of its own. */
function ours(error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof CoppiceError || !isErrorData(error)) return error;
  return new CoppiceError(error.code, error.message, error);
}

/** The server is a file of its own: no other command has to read it. */
async function loadServer(): Promise<typeof import('../../server/main.ts')> {
  try {
    return await import('../../server/main.ts');
  } catch (cause) {
    throw new CoppiceError('missing_tool', 'This installation has no server; install Coppice again.', {
      cause,
    });
  }
}
