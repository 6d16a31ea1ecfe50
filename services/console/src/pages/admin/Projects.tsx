import { Button, Group, Stack, Text, TextInput } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";

import { type Project, projectsQuery, type Usage, usageQuery } from "../../api/admin";
import { api } from "../../api/client";
import { Failure } from "../../components/Failure";
import { ago, bytes, moment, number } from "../../format";

export function Projects() {
  const found = useQuery(projectsQuery());
  const usage = useQuery(usageQuery(undefined));
  const [name, setName] = useState("");
  const [description, setDescription] = useState("");
  const queries = useQueryClient();
  const make = useMutation({
    mutationFn: async () => { await api.POST("/v1/projects", { body: { name: name.trim(), description } }); },
    onSuccess: () => { setName(""); setDescription(""); },
    onSettled: () => {
      void queries.invalidateQueries({ queryKey: ["projects"] });
      void queries.invalidateQueries({ queryKey: ["me"] });
    },
  });
  return (
    <Stack gap="sm">
      <Text size="sm">A project owns datasets, jobs, models and deployments. Only its own keys see them.</Text>
      <form aria-label="New project" onSubmit={(event) => { event.preventDefault(); make.mutate(); }}>
        <Group align="flex-end">
          <TextInput label="Name" required value={name} onChange={(event) => setName(event.currentTarget.value)} w={220} />
          <TextInput label="Description" value={description} onChange={(event) => setDescription(event.currentTarget.value)} w={320} />
          <Button type="submit" loading={make.isPending} disabled={!name.trim()}>Make the project</Button>
        </Group>
      </form>
      {make.error && <Failure error={make.error} />}
      {found.error && <Failure error={found.error} />}
      <div className="scroll" tabIndex={0} role="region" aria-label="Projects">
        <table className="rows">
          <thead><tr><th scope="col">Project</th><th scope="col">Description</th><th scope="col">Jobs</th><th scope="col" className="num">Stored</th><th scope="col" className="num">Made</th><th scope="col"><span className="unseen">Changes</span></th></tr></thead>
          <tbody>{(found.data ?? []).map((each) => <Row key={each.id} project={each} usage={usage.data?.projects.find((one) => one.project_id === each.id)} />)}</tbody>
        </table>
      </div>
    </Stack>
  );
}

function Row({ project, usage }: { project: Project; usage: Usage["projects"][number] | undefined }) {
  const queries = useQueryClient();
  const [text, setText] = useState<string | null>(null);
  const change = useMutation({
    mutationFn: async () => {
      await api.PATCH("/v1/projects/{project_id}", { params: { path: { project_id: project.id } }, body: { description: text ?? "" } });
    },
    onSuccess: () => setText(null),
    onSettled: () => queries.invalidateQueries({ queryKey: ["projects"] }),
  });
  return (
    <tr>
      <td>{project.name}<Text size="xs" c="dimmed">{project.id}</Text></td>
      <td>
        {text == null ? project.description || "–" : (
          <TextInput aria-label={`Description of ${project.name}`} value={text} onChange={(event) => setText(event.currentTarget.value)} error={change.error?.message} autoFocus />
        )}
      </td>
      <td>{usage ? `${number(usage.running)} run, ${number(usage.waiting)} wait` : "–"}</td>
      <td className="num">{bytes(usage?.total_bytes)}</td>
      <td className="num" title={moment(project.created_at)}>{ago(project.created_at)}</td>
      <td>
        <Group gap={6} justify="flex-end" wrap="nowrap">
          {text == null ? <Button size="xs" variant="default" onClick={() => setText(project.description)}>Describe</Button> : (
            <>
              <Button size="xs" loading={change.isPending} onClick={() => change.mutate()}>Keep</Button>
              <Button size="xs" variant="default" onClick={() => setText(null)}>Leave it</Button>
            </>
          )}
        </Group>
      </td>
    </tr>
  );
}
