import { Card, Code, Group, Tabs, Title } from "@mantine/core";

import type { IndexRequest } from "../api/indexes";
import { Copy } from "../components/Copy";
import type { JobBody, PipelineBody } from "./preflight";

/** A word for a POSIX shell. */
export function quoted(text: string): string {
  return /^[A-Za-z0-9_./:=@+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** JSON as Python writes it. */
function python(value: unknown): string {
  if (value === null || value === undefined) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map(python).join(", ")}]`;
  if (typeof value === "object") return `{${Object.entries(value).map(([name, inner]) => `${JSON.stringify(name)}: ${python(inner)}`).join(", ")}}`;
  return JSON.stringify(value);
}

function curl(path: string, body: unknown): string {
  return [
    `curl -sS --fail-with-body -H "Authorization: Bearer $MEDCOSS_KEY" \\`, `  -H "Content-Type: application/json" ${quoted(`${window.location.origin}${path}`)} \\`,
    `  -d ${quoted(JSON.stringify(body))}`,
  ].join("\n");
}

/** A value of `--set`: JSON, or plain text where no JSON is meant. */
function setting(name: string, value: unknown): string {
  let text = typeof value === "string" ? value : JSON.stringify(value);
  if (typeof value === "string") {
    try {
      JSON.parse(value);
      text = JSON.stringify(value);
    } catch {
      // no JSON, so it is taken as it stands
    }
  }
  return `--set ${quoted(`${name}=${text}`)}`;
}

const BREAK = " \\\n  ";

export function jobLines(body: JobBody): Record<string, string> {
  const { kind, spec, name, notes, tags, priority, max_attempts, resources, time_limit_s, project } = body;
  const options = [
    ...Object.entries(spec).map(([field, value]) => setting(field, value)),
    ...(name ? [`--name ${quoted(name)}`] : []), ...(notes ? [`--note ${quoted(notes)}`] : []),
    ...(tags ?? []).map((tag) => `--tag ${quoted(tag)}`), ...(project ? [`--project ${quoted(project)}`] : []),
    ...(priority ? [`--priority ${priority}`] : []), ...(max_attempts ? [`--max-attempts ${max_attempts}`] : []),
    ...(resources?.nodes ? [`--nodes ${resources.nodes}`] : []),
    ...(resources?.gpus != null ? [`--gpus ${resources.gpus}`] : []),
    ...(resources?.memory_bytes ? [`--memory ${resources.memory_bytes / 2 ** 30}`] : []),
    ...(time_limit_s ? [`--time-limit ${time_limit_s}`] : []),
  ];
  const named = Object.entries({ name, notes, tags: tags?.length ? tags : undefined, project, priority: priority || undefined, max_attempts, nodes: resources?.nodes, gpus: resources?.gpus, memory_bytes: resources?.memory_bytes, time_limit_s })
    .filter(([, value]) => value != null && value !== "").map(([field, value]) => `, ${field}=${python(value)}`).join("");
  return {
    CLI: [`medcoss jobs submit ${kind}`, ...options].join(BREAK),
    curl: curl("/v1/jobs", body),
    Python: `from medcoss.client import Client\n\nclient = Client()\njob = client.jobs.submit(${python(kind)}, ${python(spec)}${named})\nprint(client.jobs.wait(job.id).state)`,
  };
}

export function curriculumLines(body: PipelineBody): Record<string, string> {
  const { curriculum, name, notes, project } = body;
  const named = Object.entries({ name, notes, project }).filter(([, value]) => value).map(([field, value]) => `, ${field}=${python(value)}`).join("");
  const flags = [...(name ? [`--name ${quoted(name)}`] : []), ...(project ? [`--project ${quoted(project)}`] : [])].map((each) => ` ${each}`).join("");
  return {
    CLI: `cat > curriculum.json <<'END'\n${JSON.stringify(curriculum, null, 2)}\nEND\nmedcoss curriculum plan --spec curriculum.json\nmedcoss curriculum run --spec curriculum.json${flags}`,
    curl: curl("/v1/pipelines", body),
    Python: `from medcoss.client import Client\nfrom medcoss.specs.curriculum import Curriculum\n\nclient = Client()\ncurriculum = Curriculum.model_validate(${python(curriculum)})\nmade = client.pipelines.submit(curriculum=curriculum${named})\nprint(client.pipelines.wait(made.id).state)`,
  };
}

export function indexLines(body: IndexRequest): Record<string, string> {
  const { name = "NAME", encoder = "MODEL", datasets = [], ...rest } = body as Partial<IndexRequest>;
  const { batch_size, ...flags } = rest;
  const options = [
    `--encoder ${quoted(encoder)}`, ...datasets.map((each) => `--dataset ${each}`), ...(batch_size == null ? [] : [`--batch-size ${batch_size}`]),
    ...Object.entries(flags).map(([flag, value]) => `--${flag} ${quoted(String(value))}`),
  ];
  const named = Object.entries(rest).map(([field, value]) => `, ${field}=${python(value)}`).join("");
  return {
    CLI: [`medcoss indexes create ${quoted(name)}`, ...options].join(BREAK),
    curl: curl("/v1/indexes", body),
    Python: `from medcoss.client import Client\n\nclient = Client()\nindex = client.indexes.create(${python(name)}, ${python(encoder)}, ${python(datasets)}${named})\nprint(client.indexes.wait(index.name).state)`,
  };
}

/** The same without the console, to copy. The key is not among it. */
export function Lines({ lines }: { lines: Record<string, string> }) {
  return (
    <Card withBorder component="section" aria-labelledby="lines">
      <Title order={2} size="h4" id="lines" mb="xs">The same by hand</Title>
      <Tabs defaultValue="CLI" keepMounted={false}>
        <Tabs.List>{Object.keys(lines).map((name) => <Tabs.Tab key={name} value={name}>{name}</Tabs.Tab>)}</Tabs.List>
        {Object.entries(lines).map(([name, text]) => (
          <Tabs.Panel key={name} value={name} pt="xs">
            <Code block className="json" tabIndex={0} role="region" aria-label={`${name} lines`}>{text}</Code>
            <Group justify="flex-end" mt="xs">
              <Copy text={text} />
            </Group>
          </Tabs.Panel>
        ))}
      </Tabs>
    </Card>
  );
}
