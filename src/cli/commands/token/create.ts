import { buildCommand, type Command } from '@stricli/core';
import { CoppiceError, didYouMean } from '../../../model/errors.ts';
import { note, print, reporting } from '../../command.ts';
import { type CliContext, jsonFlag, optionalText, toggle, withExamples, word } from '../../context.ts';
import { tokenFileFlag } from './flags.ts';

interface Flags {
  readonly scope?: string;
  readonly pool?: readonly string[];
  readonly expires?: string;
  readonly certificate: boolean;
  readonly file?: string;
  readonly json: boolean;
}

export const tokenCreateCommand: Command<CliContext> = buildCommand<Flags, [string], CliContext>({
  docs: {
    brief: 'Make a token, or grant rights to a certificate',
    fullDescription: withExamples(
      'Makes a token with which a client may use the server over the network, and prints it. It is shown only now: what is kept of it is a digest. With --certificate, NAME is the common name of a client certificate, which needs no token then. The server takes it up within a second.',
      'coppice token create ci --scope write --pool vms --expires 30d',
      'coppice token create prometheus --scope read >prometheus.token',
      'coppice token create build-host --scope write --certificate',
    ),
  },
  parameters: {
    flags: {
      scope: optionalText('SCOPE', 'What it allows: read, write or admin, each with what is before it'),
      pool: {
        ...optionalText('NAME', 'A pool that it is for, by its name on the server [default = all]'),
        variadic: true,
      },
      expires: optionalText(
        'WHEN',
        'How long it lasts, or until when: 30d, 12h, 2027-01-31 [default = for ever]',
      ),
      certificate: toggle('Grant it to whoever has a certificate with this common name, and make no token'),
      file: tokenFileFlag,
      json: jsonFlag,
    },
    positional: { kind: 'tuple', parameters: [word('NAME', 'What it is called in logs')] },
  },
  func: reporting(async (context, flags: Flags, name: string) => {
    const { addGrant, defaultTokenFile } = await import('../../../server/auth/tokens.ts');
    const { isScope, scopes } = await import('../../../server/auth/scopes.ts');
    const { parseExpiry } = await import('../../../model/expiry.ts');
    const { scope, pool, expires, certificate, file = defaultTokenFile } = flags;
    if (scope === undefined)
      throw new CoppiceError(
        'invalid_argument',
        `Say what ${name} may do: --scope read, --scope write or --scope admin.`,
      );
    if (!isScope(scope))
      throw new CoppiceError(
        'invalid_argument',
        `--scope: "${scope}" is none of ${scopes.join(', ')}.${didYouMean(scope, scopes)}`,
      );
    const { grant, token } = await addGrant(file, {
      name,
      scope,
      kind: certificate ? 'certificate' : 'token',
      ...(pool !== undefined && pool.length > 0 && { pools: [...new Set(pool)] }),
      ...(expires !== undefined && { expires: parseExpiry(expires) }),
    });
    const { sha256, ...told } = grant;
    print(context, flags, { ...told, ...(token !== undefined && { token }), file }, () => token ?? '');
    if (flags.json) return;
    const elsewhere = flags.file === undefined ? '' : ` --file ${flags.file}`;
    const rights = `${grant.scope} on ${grant.pools?.join(', ') ?? 'all pools'}, ${grant.expires === undefined ? 'for ever' : `until ${grant.expires}`}`;
    note(
      context,
      token === undefined
        ? `coppice: certificates with the common name ${name} have ${rights}.`
        : `coppice: the token ${name} has ${rights}. It is shown only now; revoke it with "coppice token revoke ${name}${elsewhere}".`,
    );
  }),
});
