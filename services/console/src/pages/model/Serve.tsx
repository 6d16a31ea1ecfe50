import { Button, Card, Group, Select, Stack, Text, TextInput, Title } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";

import { api, type Model } from "../../api/client";
import { type Deployment, deploymentsQuery } from "../../api/models";
import { meQuery } from "../../api/queries";
import { Failure } from "../../components/Failure";
import { StateBadge } from "../../components/State";
import { newIndex } from "../../forms/start";
import { moment, number } from "../../format";

/** The served versions of a model, and one more. */
export function Serve({ model }: { model: Model }) {
  const me = useQuery(meQuery());
  const queries = useQueryClient();
  const found = useQuery(deploymentsQuery(model.id));
  const [name, setName] = useState(model.name.toLowerCase().replaceAll(/[^a-z0-9_-]+/g, "-").slice(0, 40));
  const [modality, setModality] = useState<string | null>(model.task === "encoder" ? (model.modalities.at(-1) ?? null) : null);
  const serve = useMutation({
    mutationFn: async () => {
      const body = { model: model.id, name, ...(modality ? { modality } : {}), project: model.project_id };
      await api.POST("/v1/deployments", { body: body as never });
    },
    onSettled: () => queries.invalidateQueries({ queryKey: ["deployments", model.id] }),
  });
  return (
    <Stack>
      {found.error && <Failure error={found.error} />}
      {found.data?.length === 0 && <Text size="sm" c="dimmed">It is not served yet.</Text>}
      {Boolean(found.data?.length) && <Versions rows={found.data ?? []} />}
      {me.data && me.data.role !== "viewer" && (
        <Card withBorder component="section" aria-labelledby="serve">
          <Title order={2} size="h4" id="serve" mb={4}>{found.data?.length ? "Serve one more version" : "Serve it"}</Title>
          <Text size="sm" c="dimmed" mb="sm">It is exported, compared with what was trained, and then answers under this name.</Text>
          <Group align="flex-end">
            <TextInput label="Name" value={name} onChange={(event) => setName(event.currentTarget.value)} w={240} />
            {model.task === "encoder" && model.modalities.length > 1 && (
              <Select label="Reads" data={model.modalities} value={modality} onChange={setModality} allowDeselect={false} w={160} />
            )}
            <Button loading={serve.isPending} disabled={!name} onClick={() => serve.mutate()}>Serve</Button>
          </Group>
          {serve.error && <Failure error={serve.error} />}
        </Card>
      )}
      {model.task !== "segmentation" && me.data && me.data.role !== "viewer" && (
        <Text size="sm"><Link className="link" {...newIndex(me.data, model.project_id, model.id)}>Make an index with it</Link>, to see studies as it does on a map, and to find those nearest to a file.</Text>
      )}
    </Stack>
  );
}

function Versions({ rows }: { rows: readonly Deployment[] }) {
  return (
    <div className="scroll" tabIndex={0} role="region" aria-label="Served versions">
      <table className="rows">
        <thead>
          <tr>
            <th scope="col">Name</th><th scope="col">State</th><th scope="col">Answers</th><th scope="col">Input</th>
            <th scope="col" className="num">Largest difference</th><th scope="col" className="num">Made</th>
          </tr>
        </thead>
        <tbody>
          {rows.map((each) => (
            <tr key={each.id}>
              <td>{each.state === "ready" ? <Link className="link" to="/try" search={{ model: each.name }}>{each.name}</Link> : each.name}
                <Text size="xs" c="dimmed">{each.version == null ? "" : `version ${each.version}`}</Text></td>
              <td><StateBadge state={each.state} />{each.error && <Text size="xs">{String(each.error.detail ?? each.error.title)}</Text>}</td>
              <td>{each.active ? "for its name" : each.version == null ? "–" : `as ${each.name}@${each.version}`}</td>
              <td>{each.modality}</td><td className="num">{number(each.max_difference)}</td><td className="num">{moment(each.created_at)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
