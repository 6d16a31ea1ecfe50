import { Tabs, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";

import { meQuery } from "../api/queries";
import type { AdminSearch } from "../router";
import { Heading } from "../Shell";
import { Audit } from "./admin/Audit";
import { Keys } from "./admin/Keys";
import { Limits } from "./admin/Limits";
import { Projects } from "./admin/Projects";

const TABS = [["keys", "Keys"], ["projects", "Projects"], ["audit", "Audit log"], ["limits", "Quotas and limits"]] as const;

export default function Admin() {
  const { tab = "keys" } = useSearch({ from: "/admin" });
  const navigate = useNavigate({ from: "/admin" });
  const me = useQuery(meQuery());
  if (me.data && me.data.role !== "admin") {
    return <><Heading>Administration</Heading><Text>This is for administrators; your key has the role {me.data.role}.</Text></>;
  }
  return (
    <>
      <Heading>Administration</Heading>
      <Tabs value={tab} keepMounted={false} onChange={(to) => void navigate({ search: ({ project }) => ({ project, tab: to as AdminSearch["tab"] }) })}>
        <Tabs.List mb="md">{TABS.map(([value, label]) => <Tabs.Tab key={value} value={value}>{label}</Tabs.Tab>)}</Tabs.List>
        <Tabs.Panel value="keys"><Keys /></Tabs.Panel>
        <Tabs.Panel value="projects"><Projects /></Tabs.Panel>
        <Tabs.Panel value="audit"><Audit /></Tabs.Panel>
        <Tabs.Panel value="limits"><Limits /></Tabs.Panel>
      </Tabs>
    </>
  );
}
