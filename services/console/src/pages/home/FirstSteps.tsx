import { Button, Card, Group, Stack, Text, ThemeIcon, Title } from "@mantine/core";
import { IconCheck } from "@tabler/icons-react";
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { Link, useSearch } from "@tanstack/react-router";

import { anyServedQuery } from "../../api/models";
import { datasetsQuery, meQuery, modelsQuery } from "../../api/queries";

/** Who has so many models knows the way, whether or not one is served. */
const KNOWN = 4;

interface Step {
  title: string;
  words: string;
  isDone: boolean;
  link: React.ReactNode;
}

/** The way from an empty project to a model that answers; gone once it has been gone. */
export function FirstSteps() {
  const { project } = useSearch({ from: "__root__" });
  const me = useQuery(meQuery());
  const raw = useInfiniteQuery(datasetsQuery({ project, role: ["raw"] }, 1));
  const prepared = useInfiniteQuery(datasetsQuery({ project, role: ["prepared"] }, 1));
  const models = useInfiniteQuery(modelsQuery({ project }, KNOWN));
  const served = useQuery(anyServedQuery(project));
  if (!raw.data || !prepared.data || !models.data || !served.data || served.data.some((each) => each.state === "ready")) return null;
  if ((models.data.pages[0]?.items.length ?? 0) >= KNOWN) return null;
  const first = <T,>(found: { pages: { items: T[] }[] }): T | undefined => found.pages[0]?.items[0];
  const [files, data, model] = [first(raw.data), first(prepared.data), first(models.data)];
  const steps: Step[] = [
    {
      title: "Upload a folder", isDone: Boolean(files), link: <Button component={Link} to="/datasets/upload">Upload</Button>,
      words: "images, volumes or reports, with labels or masks if there are any",
    },
    {
      title: "Prepare it", isDone: Boolean(data), words: "a recipe reads the files, brings them to one size and divides them into training, validation and test",
      link: files && <Button component={Link} to="/datasets/$id" params={{ id: files.id } as never}>Open {files.name}</Button>,
    },
    {
      title: "Train a model", isDone: Boolean(model), words: "pre-train an encoder without labels, or fine-tune a classifier or a segmenter with them",
      link: data && <Button component={Link} to="/datasets/$id" params={{ id: data.id } as never}>Open {data.name}</Button>,
    },
    {
      title: "Serve it, and try it on a new file", isDone: false, words: "it is exported, checked, and answers under a name",
      link: model && <Button component={Link} to="/models/$modelId" params={{ modelId: model.id } as never} search={{ tab: "serve" } as never}>Open {model.name}</Button>,
    },
  ];
  const next = steps.findIndex((each) => !each.isDone);
  return (
    <Card withBorder component="section" aria-labelledby="first-steps" padding="md" mb="md">
      <Title order={2} size="h4" id="first-steps" mb="sm">First steps</Title>
      <Stack gap="sm" component="ol" className="steps">
        {steps.map((each, at) => (
          <Group key={each.title} component="li" justify="space-between" wrap="nowrap" aria-current={at === next ? "step" : undefined}>
            <Group gap="sm" wrap="nowrap">
              <ThemeIcon radius="xl" variant={each.isDone || at === next ? "filled" : "default"} color={each.isDone ? "teal.9" : undefined} aria-hidden>
                {each.isDone ? <IconCheck size={16} /> : at + 1}
              </ThemeIcon>
              <div>
                <Text size="sm" fw={at === next ? 600 : 500}>{each.title}{each.isDone && <span className="unseen"> (done)</span>}</Text>
                <Text size="xs" c="dimmed">{each.words}</Text>
              </div>
            </Group>
            {at === next && me.data?.role !== "viewer" && each.link}
          </Group>
        ))}
      </Stack>
    </Card>
  );
}
