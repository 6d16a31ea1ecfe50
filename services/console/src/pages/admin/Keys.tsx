import { Button, Group, Select, Stack, Text } from "@mantine/core";
import { IconPlus } from "@tabler/icons-react";
import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";

import { type Key, keysQuery, type NewKey } from "../../api/admin";
import { api } from "../../api/client";
import { meQuery } from "../../api/queries";
import { Confirm } from "../../components/Confirm";
import { Failure } from "../../components/Failure";
import { StateBadge } from "../../components/State";
import { ago, moment } from "../../format";
import { session } from "../../session";
import { KeyForm } from "./KeyForm";
import { Secret } from "./Secret";

const GRACES = [
  { value: "0", label: "ends at once" }, { value: "3600", label: "opens for another hour" },
  { value: "86400", label: "opens for another day" }, { value: "604800", label: "opens for another week" },
];

export function Keys() {
  const found = useInfiniteQuery(keysQuery());
  const [making, setMaking] = useState(false);
  const [made, setMade] = useState<NewKey | null>(null);
  const keys = found.data?.pages.flatMap((page) => page.items) ?? [];
  return (
    <Stack gap="sm">
      {made && <Secret made={made} done={() => setMade(null)} />}
      {!making && (
        <Group><Button leftSection={<IconPlus size={16} aria-hidden />} onClick={() => setMaking(true)}>New key</Button></Group>
      )}
      {making && <KeyForm made={(key) => { setMade(key); setMaking(false); }} close={() => setMaking(false)} />}
      {found.error && <Failure error={found.error} retry={() => void found.refetch()} />}
      <div className="scroll" tabIndex={0} role="region" aria-label="Keys">
        <table className="rows">
          <thead>
            <tr>
              <th scope="col">Key</th><th scope="col">Owner</th><th scope="col">Role</th><th scope="col">Projects</th><th scope="col">State</th>
              <th scope="col">Ends</th><th scope="col">Last used</th><th scope="col"><span className="unseen">Changes</span></th>
            </tr>
          </thead>
          <tbody>{keys.map((key) => <Row key={key.id} of={key} rotated={setMade} />)}</tbody>
        </table>
      </div>
      {found.hasNextPage && <Group><Button variant="default" loading={found.isFetching} onClick={() => void found.fetchNextPage()}>More</Button></Group>}
    </Stack>
  );
}

function Row({ of, rotated }: { of: Key; rotated: (key: NewKey) => void }) {
  const me = useQuery(meQuery());
  const queries = useQueryClient();
  const [grace, setGrace] = useState("3600");
  const params = { path: { key_id: of.id } };
  const settled = { onSettled: () => queries.invalidateQueries({ queryKey: ["keys"] }) };
  const revoke = useMutation({ mutationFn: async () => { await api.DELETE("/v1/keys/{key_id}", { params }); }, ...settled });
  const rotate = useMutation({
    mutationFn: async () => (await api.POST("/v1/keys/{key_id}/rotate", { params, body: { grace_s: Number(grace) } })).data as NewKey,
    onSuccess: (made) => {
      // of the key in use the console takes the new secret, or it would be shut out before anybody has seen it
      if (of.id === me.data?.key_id) session.begin(made.secret);
      rotated(made);
    },
    ...settled,
  });
  return (
    <tr data-key={of.id}>
      <td>{of.name}<Text size="xs" c="dimmed">{of.id}</Text></td>
      <td>{of.owner}</td>
      <td>{of.role}</td>
      <td>{of.projects?.join(", ") ?? "all"}</td>
      <td>
        <StateBadge state={of.state} />
        {of.previous_until && <Text size="xs" c="dimmed">the secret before opens until {moment(of.previous_until)}</Text>}
      </td>
      <td>{of.revoked_at ? `revoked ${moment(of.revoked_at)}` : of.expires_at ? moment(of.expires_at) : "never"}</td>
      <td title={moment(of.last_used_at)}>{of.last_used_at ? ago(of.last_used_at) : "never"}</td>
      <td>
        {of.state === "active" && (
          <Group gap={6} wrap="nowrap" justify="flex-end">
            <Confirm size="xs" label="Rotate" yes="Make a new secret" danger={false} busy={rotate.isPending} does={() => rotate.mutate()}>
              <Select label="The secret of today" data={GRACES} value={grace} onChange={(to) => setGrace(to ?? "0")} allowDeselect={false}
                comboboxProps={{ withinPortal: false }} />
            </Confirm>
            {of.id !== me.data?.key_id && (
              <Confirm size="xs" label="Revoke" yes="Revoke the key" busy={revoke.isPending} does={() => revoke.mutate()}>
                It opens nothing any more, at once, and for good. It stays in this list, as the audit log names it.
              </Confirm>
            )}
          </Group>
        )}
        {(revoke.error ?? rotate.error) && <Text size="xs" c="red" role="alert">{(revoke.error ?? rotate.error)?.message}</Text>}
      </td>
    </tr>
  );
}
