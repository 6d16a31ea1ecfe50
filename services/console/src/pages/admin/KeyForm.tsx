import { Button, Card, Group, MultiSelect, Select, Text, TextInput } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";

import { type KeyRequest, type NewKey, projectsQuery } from "../../api/admin";
import { api } from "../../api/client";
import { Failure } from "../../components/Failure";

const MAY: Record<KeyRequest["role"], string> = {
  viewer: "reads, and asks the gateway",
  operator: "also uploads, submits, pauses, cancels and deletes",
  admin: "also manages projects and keys, reads the audit log and sees all projects",
};
const DAYS = [
  { value: "30", label: "in 30 days" }, { value: "90", label: "in 90 days" }, { value: "365", label: "in a year" }, { value: "", label: "never" },
];

/** Asks what a new key may, and for how long. */
export function KeyForm({ made, close }: { made: (key: NewKey) => void; close: () => void }) {
  const queries = useQueryClient();
  const projects = useQuery(projectsQuery());
  const [name, setName] = useState("");
  const [owner, setOwner] = useState("");
  const [role, setRole] = useState<KeyRequest["role"]>("operator");
  const [opens, setOpens] = useState<string[]>(["default"]);
  const [days, setDays] = useState("90");
  const make = useMutation({
    mutationFn: async () => {
      const expires_at = days ? new Date(Date.now() + Number(days) * 86_400_000).toISOString() : null;
      const body = { name: name.trim(), owner: owner.trim() || null, role, expires_at, ...(role === "admin" ? {} : { projects: opens }) };
      return (await api.POST("/v1/keys", { body })).data as NewKey;
    },
    onSuccess: made,
    onSettled: () => queries.invalidateQueries({ queryKey: ["keys"] }),
  });
  return (
    <Card withBorder component="form" aria-label="New key" onSubmit={(event) => { event.preventDefault(); make.mutate(); }}>
      <Group align="flex-start">
        <TextInput label="Name" description="what it is for" required value={name} onChange={(event) => setName(event.currentTarget.value)} w={220} autoFocus />
        <TextInput label="Owner" description="who uses it; quotas count by owner" value={owner} onChange={(event) => setOwner(event.currentTarget.value)} w={220} placeholder="as the name" />
        <Select label="Role" description="what it may" data={["viewer", "operator", "admin"]} value={role} allowDeselect={false} w={150}
          onChange={(to) => setRole(to as KeyRequest["role"])} />
        {role !== "admin" && (
          <MultiSelect label="Projects" description="what it opens" data={(projects.data ?? []).map((each) => each.name)} value={opens} onChange={setOpens} w={260} required />
        )}
        <Select label="Ends" description="after that it opens nothing" data={DAYS} value={days} allowDeselect={false} w={190} onChange={(to) => setDays(to ?? "")} />
      </Group>
      <Text size="sm" c="dimmed" mt="xs">A key of the role {role} {MAY[role]}.</Text>
      {make.error && <Failure error={make.error} />}
      <Group mt="sm">
        <Button type="submit" loading={make.isPending} disabled={!name.trim() || (role !== "admin" && !opens.length)}>Make the key</Button>
        <Button variant="default" onClick={close}>Leave it</Button>
      </Group>
    </Card>
  );
}
