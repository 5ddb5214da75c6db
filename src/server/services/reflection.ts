import {
  create,
  type DescFile,
  type DescMessage,
  type DescService,
  type MessageInitShape,
  toBinary,
} from '@bufbuild/protobuf';
import { FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt';
import { Code, type ServiceImpl } from '@connectrpc/connect';
import {
  type ServerReflection,
  type ServerReflectionRequest,
  ServerReflectionResponseSchema,
} from '../../api/generated/grpc/reflection/v1/reflection_pb.ts';

/** The most questions in one stream: a tool asks some dozens. */
const mostQuestions = 10_000;

type Answer = NonNullable<MessageInitShape<typeof ServerReflectionResponseSchema>['messageResponse']>;

/** Tells tools what the server offers. */
export function reflectionService(services: readonly DescService[]): ServiceImpl<typeof ServerReflection> {
  const files = new Map<string, DescFile>();
  const add = (file: DescFile): void => {
    if (files.has(file.proto.name)) return;
    files.set(file.proto.name, file);
    file.dependencies.forEach(add);
  };
  for (const service of services) add(service.file);
  const symbols = new Map([...files.values()].flatMap(symbolsIn));

  const answer = ({ messageRequest }: ServerReflectionRequest): Answer => {
    switch (messageRequest.case) {
      case 'listServices': {
        const names = services.map(({ typeName }) => ({ name: typeName }));
        return { case: 'listServicesResponse', value: { service: names } };
      }
      case 'fileByFilename':
        return fileAnswer(files.get(messageRequest.value), messageRequest.value);
      case 'fileContainingSymbol':
        return fileAnswer(symbols.get(messageRequest.value), messageRequest.value);
      case 'fileContainingExtension': {
        const { containingType, extensionNumber } = messageRequest.value;
        const file = [...files.values()].find((each) =>
          each.extensions.some(
            (one) => one.extendee.typeName === containingType && one.number === extensionNumber,
          ),
        );
        return fileAnswer(file, `${containingType} ${extensionNumber}`);
      }
      case 'allExtensionNumbersOfType': {
        const baseTypeName = messageRequest.value;
        const extensionNumber = [...files.values()]
          .flatMap((each) => each.extensions)
          .filter((one) => one.extendee.typeName === baseTypeName)
          .map((one) => one.number);
        return { case: 'allExtensionNumbersResponse', value: { baseTypeName, extensionNumber } };
      }
      default:
        return failure(Code.InvalidArgument, 'The question is empty.');
    }
  };
  return {
    async *serverReflectionInfo(requests) {
      let asked = 0;
      for await (const originalRequest of requests) {
        if (++asked > mostQuestions) return;
        yield create(ServerReflectionResponseSchema, {
          validHost: originalRequest.host,
          originalRequest,
          messageResponse: answer(originalRequest),
        });
      }
    },
  };
}

function fileAnswer(file: DescFile | undefined, name: string): Answer {
  if (!file) return failure(Code.NotFound, `${JSON.stringify(name.slice(0, 200))} is not known.`);
  const wanted = new Set<DescFile>();
  const add = (each: DescFile): void => {
    if (wanted.has(each)) return;
    wanted.add(each);
    each.dependencies.forEach(add);
  };
  add(file);
  const fileDescriptorProto = [...wanted].map((each) => toBinary(FileDescriptorProtoSchema, each.proto));
  return { case: 'fileDescriptorResponse', value: { fileDescriptorProto } };
}

function failure(code: Code, errorMessage: string): Answer {
  return { case: 'errorResponse', value: { errorCode: code, errorMessage } };
}

function symbolsIn(file: DescFile): Array<readonly [string, DescFile]> {
  const inMessage = (message: DescMessage): string[] => [
    message.typeName,
    ...message.fields.map((field) => `${message.typeName}.${field.name}`),
    ...message.nestedEnums.map((each) => each.typeName),
    ...message.nestedMessages.flatMap(inMessage),
  ];
  const names = [
    ...file.messages.flatMap(inMessage),
    ...file.enums.map((each) => each.typeName),
    ...file.extensions.map((each) => each.typeName),
    ...file.services.flatMap((each) => [
      each.typeName,
      ...each.methods.map((method) => `${each.typeName}.${method.name}`),
    ]),
  ];
  return names.map((name) => [name, file] as const);
}
