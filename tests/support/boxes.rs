//! Firewalls as fixtures: what stands in config.xml, and what the agent must report of it. The PHP shim gets the
//! XML; a simulated firewall can be given the expected value and must report the same.

use kmsctl::domain::pfsense::configured::{
    Alias, CapFields, Configured, CronItem, FilterRule, InterfaceConfig, NatRule, Revision, Side,
    System,
};

/// The generation of pfSense, as far as the agent can notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// 2.6.0: no `config_get_path`, cache believed, HTML entities.
    V260,
    /// 2.7.2: cache believed, HTML entities.
    V272,
    /// The development branch: `config_read_file`, raw UTF-8.
    Master,
}

impl Version {
    pub const ALL: [Self; 3] = [Self::V260, Self::V272, Self::Master];

    pub fn name(self) -> &'static str {
        match self {
            Self::V260 => "2.6.0",
            Self::V272 => "2.7.2",
            Self::Master => "master",
        }
    }

    /// What `/etc/version` holds, and the version of config.xml.
    fn versions(self) -> (&'static str, &'static str) {
        match self {
            Self::V260 => ("2.6.0-RELEASE", "22.2"),
            Self::V272 => ("2.7.2-RELEASE", "23.3"),
            Self::Master => ("2.9.0-DEVELOPMENT", "24.5"),
        }
    }

    pub fn etc_version(self) -> &'static str {
        self.versions().0
    }

    pub fn system(self) -> System {
        let (version, config_version) = self.versions();
        let some = |text: &str| Some(text.to_owned());
        System { version: some(version), config_version: some(config_version), php: String::new() }
    }
}

/// One firewall's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fixture {
    /// The user's pair, the filter rule saved once in the rule editor, caps set.
    Editor,
    /// The filter rule as the NAT page creates it: no type, no caps.
    NatPage,
    /// `associated-rule-id` is `pass`, and there is no filter rule.
    PassAssociation,
    /// `associated-rule-id` is there and empty; the filter rule stands alone.
    EmptyAssociation,
    /// There is no `associated-rule-id` at all, as in old configurations.
    NoAssociation,
    /// The filter rule that the association names is gone.
    Dangling,
    /// The em dash stored as the character, whatever the version.
    RawDash,
    /// Every section that is read is there and empty.
    EmptySections,
    /// No section that is read is there.
    NoSections,
    /// Both rules disabled by an empty element.
    Disabled,
    /// Two port forwards to the alias, and two filter rules with the same association and tracker.
    Duplicates,
    /// No alias of the name, and the rules spell the address itself.
    AliasMissing,
    /// A description that is not UTF-8.
    InvalidUtf8,
    /// Ports by range and by alias, a floating rule, and the old target.
    Elsewhere,
    /// Pending changes, a sync peer, filtering off.
    Circumstances,
}

const ASSOCIATION: &str = "nat_6b02e05bc72229.61817353";

impl Fixture {
    pub const ALL: [Self; 15] = [
        Self::Editor,
        Self::NatPage,
        Self::PassAssociation,
        Self::EmptyAssociation,
        Self::NoAssociation,
        Self::Dangling,
        Self::RawDash,
        Self::EmptySections,
        Self::NoSections,
        Self::Disabled,
        Self::Duplicates,
        Self::AliasMissing,
        Self::InvalidUtf8,
        Self::Elsewhere,
        Self::Circumstances,
    ];

    /// Subsystems with unapplied changes.
    pub fn dirty(self) -> &'static [&'static str] {
        if self == Self::Circumstances { &["natconf", "aliases"] } else { &[] }
    }

    /// Writes config.xml; bytes, because one fixture is not UTF-8.
    pub fn xml(self, version: Version) -> Vec<u8> {
        let circumstances = self == Self::Circumstances;
        let system = if circumstances { "<disablefilter/>" } else { "" };
        let peer = if circumstances { "10.0.99.2" } else { "" };
        let sections = match self {
            Self::EmptySections => "<nat></nat><filter/><aliases></aliases><cron/>".to_owned(),
            Self::NoSections => String::new(),
            _ => [self.nat_xml(), self.filter_xml(), self.aliases_xml(), CRON_XML.to_owned()]
                .concat(),
        };
        let dash =
            if version == Version::Master || self == Self::RawDash { "—" } else { "&mdash;" };
        let text = include_str!("pfsense/box.xml")
            .replace("@VERSION@", version.versions().1)
            .replace("@SYSTEM@", system)
            .replace("@PEER@", peer)
            .replace("@SECTIONS@", &sections)
            .replace("@DASH@", dash);
        if self == Self::InvalidUtf8 { break_utf8(&text) } else { text.into_bytes() }
    }

    fn nat_xml(self) -> String {
        let association = match self {
            Self::PassAssociation => "<associated-rule-id>pass</associated-rule-id>".to_owned(),
            Self::EmptyAssociation => "<associated-rule-id></associated-rule-id>".to_owned(),
            Self::NoAssociation => String::new(),
            _ => format!("<associated-rule-id>{ASSOCIATION}</associated-rule-id>"),
        };
        let disabled = if self == Self::Disabled { "<disabled></disabled>" } else { "" };
        let target = if self == Self::AliasMissing { "10.0.20.202" } else { "k8s_kms_lb" };
        let ours = format!(
            "<rule>{disabled}<source><any/></source><destination><network>wanip</network><port>1688</port></destination>\
             <ipprotocol>inet</ipprotocol><protocol>tcp</protocol><target>{target}</target><local-port>1688</local-port>\
             <interface>wan</interface><descr><![CDATA[KMS public @DASH@ kms.viktorbarzin.me]]></descr>{association}\
             <updated><time>1795350619</time><username><![CDATA[admin]]></username></updated></rule>"
        );
        let more = match self {
            Self::Duplicates => ours.clone(),
            Self::Elsewhere => ELSEWHERE_NAT_XML.to_owned(),
            _ => String::new(),
        };
        format!(
            "<nat><separator></separator><outbound><mode>automatic</mode></outbound>{OTHER_NAT_XML}{ours}{more}</nat>"
        )
    }

    fn filter_xml(self) -> String {
        let association = match self {
            Self::NoAssociation => String::new(),
            Self::EmptyAssociation => "<associated-rule-id></associated-rule-id>".to_owned(),
            _ => format!("<associated-rule-id>{ASSOCIATION}</associated-rule-id>"),
        };
        let address = if self == Self::AliasMissing { "10.0.20.202" } else { "k8s_kms_lb" };
        let common = format!(
            "<source><any></any></source><interface>wan</interface><ipprotocol>inet</ipprotocol><protocol>tcp</protocol>\
             <destination><address>{address}</address><port>1688</port></destination>\
             <descr><![CDATA[NAT KMS public @DASH@ kms.viktorbarzin.me]]></descr>{association}<tracker>1763000004</tracker>"
        );
        let ours = match self {
            Self::PassAssociation | Self::Dangling => String::new(),
            Self::NatPage => {
                format!("<rule>{common}<created><time>1763000004</time></created></rule>")
            }
            Self::Disabled => format!("<rule>{common}{EDITOR_XML}<disabled/></rule>"),
            _ => format!("<rule>{common}{EDITOR_XML}</rule>"),
        };
        let more = match self {
            Self::Duplicates => ours.clone(),
            Self::Elsewhere => ELSEWHERE_FILTER_XML.to_owned(),
            _ => String::new(),
        };
        format!("<filter>{OTHER_FILTER_XML}{ours}{more}<separator><wan></wan></separator></filter>")
    }

    fn aliases_xml(self) -> String {
        let ours = "<alias><name>k8s_kms_lb</name><type>host</type><address>10.0.20.202</address>\
            <descr></descr><detail><![CDATA[KMS]]></detail></alias>";
        let ours = if self == Self::AliasMissing { "" } else { ours };
        format!(
            "<aliases><alias><name>k8s_shared_lb</name><type>host</type><address>10.0.20.200</address></alias>{ours}\
             <alias><name>kms_ports</name><type>port</type><address>1680:1690 more_ports</address></alias></aliases>"
        )
    }

    /// What the agent reports, but for the versions (see [`Version::system`]).
    pub fn expected(self) -> Configured {
        let mut expected = Configured {
            system: System::default(),
            revision: Revision {
                time: some("1795350619"),
                description: some(
                    "admin@10.0.10.5 (Local Database): /firewall_rules_edit.php made unknown change",
                ),
                username: some("admin@10.0.10.5 (Local Database)"),
            },
            nat: vec![nat_rule()],
            filter: vec![filter_rule()],
            alias: Some(Alias {
                name: "k8s_kms_lb".into(),
                kind: some("host"),
                address: some("10.0.20.202"),
            }),
            cron: vec![cron_item()],
            interface: Some(InterfaceConfig {
                name: "wan".into(),
                device: some("vtnet0"),
                descr: some("WAN"),
                ipaddr: some("192.168.1.2"),
                subnet: some("24"),
                enabled: true,
                gateway: some("WANGW"),
                ..InterfaceConfig::default()
            }),
            dirty: Vec::new(),
            ha_peer: false,
            filter_disabled: false,
            ..Configured::default()
        };
        self.change(&mut expected);
        expected
    }

    fn change(self, expected: &mut Configured) {
        let (nat, filter) = (&mut expected.nat, &mut expected.filter);
        match self {
            Self::Editor | Self::RawDash => {}
            Self::NatPage => {
                (filter[0].kind, filter[0].statetype, filter[0].caps) =
                    (None, None, CapFields::default());
            }
            Self::PassAssociation => {
                nat[0].association = some("pass");
                filter.clear();
            }
            Self::EmptyAssociation => {
                (nat[0].association, filter[0].association) = (some(""), some(""));
            }
            Self::NoAssociation => (nat[0].association, filter[0].association) = (None, None),
            Self::Dangling => filter.clear(),
            Self::EmptySections | Self::NoSections => {
                nat.clear();
                filter.clear();
                expected.cron.clear();
                expected.alias = None;
            }
            Self::Disabled => (nat[0].disabled, filter[0].disabled) = (true, true),
            Self::Duplicates => {
                nat.push(NatRule { index: 2, ..nat_rule() });
                filter.push(FilterRule { index: 3, ..filter_rule() });
            }
            Self::AliasMissing => {
                expected.alias = None;
                nat[0].target = some("10.0.20.202");
                filter[0].destination.address = some("10.0.20.202");
            }
            Self::InvalidUtf8 => {
                nat[0].descr = some("KMS public \u{fffd} kms.viktorbarzin.me");
                filter[0].descr = some("NAT KMS public \u{fffd} kms.viktorbarzin.me");
            }
            Self::Elsewhere => {
                nat.extend(elsewhere_nat());
                filter.extend(elsewhere_filter());
            }
            Self::Circumstances => {
                expected.dirty = vec!["natconf".into(), "aliases".into()];
                expected.ha_peer = true;
                expected.filter_disabled = true;
            }
        }
    }
}

/// Replaces the dash by a byte that no UTF-8 text has.
fn break_utf8(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (place, piece) in text.replace("&mdash;", "—").split('—').enumerate() {
        if place > 0 {
            bytes.push(0xff);
        }
        bytes.extend_from_slice(piece.as_bytes());
    }
    bytes
}

const OTHER_NAT_XML: &str = "<rule><source><any/></source><destination><network>wanip</network><port>51820</port></destination>\
    <ipprotocol>inet</ipprotocol><protocol>udp</protocol><target>k8s_shared_lb</target><local-port>51820</local-port>\
    <interface>wan</interface><descr><![CDATA[WireGuard]]></descr><associated-rule-id>nat_1</associated-rule-id></rule>";

const OTHER_FILTER_XML: &str = "<rule><source><any/></source><interface>wan</interface><protocol>udp</protocol>\
    <destination><address>k8s_shared_lb</address><port>51820</port></destination><descr><![CDATA[NAT WireGuard]]></descr>\
    <associated-rule-id>nat_1</associated-rule-id><tracker>1763000001</tracker></rule>\
    <rule><type>pass</type><source><network>lan</network></source><interface>lan</interface><destination><any/></destination>\
    <tracker>0100000101</tracker></rule>";

const EDITOR_XML: &str = "<id></id><type>pass</type><tag></tag><tagged></tagged><max></max><max-src-nodes></max-src-nodes>\
    <max-src-conn>50</max-src-conn><max-src-states></max-src-states><statetimeout></statetimeout>\
    <statetype><![CDATA[keep state]]></statetype><os></os><max-src-conn-rate>10</max-src-conn-rate>\
    <max-src-conn-rates>60</max-src-conn-rates>";

const CRON_XML: &str = "<cron><item><minute>1</minute><hour>3</hour><mday>*</mday><month>*</month><wday>*</wday><who>root</who>\
    <command>/etc/rc.periodic daily</command></item><item><minute>*/60</minute><hour>*</hour><mday>*</mday><month>*</month>\
    <wday>*</wday><who>root</who><command>/usr/bin/nice -n20 /usr/local/sbin/expiretable -v -t 3600 virusprot</command></item>\
    <item><minute>*/60</minute><hour>*</hour><mday>*</mday><month>*</month><wday>*</wday><who>root</who>\
    <command>/usr/bin/nice -n20 /usr/local/sbin/expiretable -v -t 3600 virusprot2</command></item></cron>";

const ELSEWHERE_NAT_XML: &str = "<rule><source><any/></source><destination><network>wanip</network><port>kms_ports</port></destination>\
    <protocol>tcp/udp</protocol><target>k8s_shared_lb</target><local-port>1680</local-port><interface>wan</interface>\
    <associated-rule-id></associated-rule-id><natreflection>purenat</natreflection></rule>\
    <rule><nordr></nordr><source><address>198.51.100.7</address></source><destination><network>wanip</network><port>1600-1700</port>\
    </destination><protocol>tcp</protocol><interface>wan</interface></rule>";

const ELSEWHERE_FILTER_XML: &str = "<rule><type>block</type><floating>yes</floating><quick>yes</quick><direction>in</direction>\
    <interface>lan,wan</interface><source><not></not><address>friends</address></source>\
    <destination><any/><port>kms_ports</port></destination><protocol>tcp</protocol><sched>office</sched><tracker>7</tracker></rule>\
    <rule><type>pass</type><interface>lan</interface><source><any/></source><destination><any/><port>1688</port></destination>\
    <protocol>tcp</protocol><tracker>8</tracker></rule>";

#[expect(clippy::unnecessary_wraps, reason = "it fills optional fields")]
fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn any() -> Side {
    Side { any: true, ..Side::default() }
}

fn wan_port(port: &str) -> Side {
    Side { network: some("wanip"), port: some(port), ..Side::default() }
}

fn nat_rule() -> NatRule {
    NatRule {
        index: 1,
        interface: "wan".into(),
        ipprotocol: some("inet"),
        protocol: some("tcp"),
        source: any(),
        destination: wan_port("1688"),
        target: some("k8s_kms_lb"),
        local_port: some("1688"),
        descr: some("KMS public — kms.viktorbarzin.me"),
        association: some(ASSOCIATION),
        ..NatRule::default()
    }
}

fn filter_rule() -> FilterRule {
    FilterRule {
        index: 2,
        tracker: some("1763000004"),
        kind: some("pass"),
        interface: some("wan"),
        ipprotocol: some("inet"),
        protocol: some("tcp"),
        source: any(),
        destination: Side { address: some("k8s_kms_lb"), port: some("1688"), ..Side::default() },
        descr: some("NAT KMS public — kms.viktorbarzin.me"),
        association: some(ASSOCIATION),
        statetype: some("keep state"),
        caps: CapFields {
            max_src_conn: some("50"),
            max_src_conn_rate: some("10"),
            max_src_conn_rates: some("60"),
        },
        ..FilterRule::default()
    }
}

fn elsewhere_nat() -> [NatRule; 2] {
    [
        NatRule {
            index: 2,
            interface: "wan".into(),
            protocol: some("tcp/udp"),
            source: any(),
            destination: wan_port("kms_ports"),
            target: some("k8s_shared_lb"),
            local_port: some("1680"),
            association: some(""),
            natreflection: some("purenat"),
            ..NatRule::default()
        },
        NatRule {
            index: 3,
            nordr: true,
            interface: "wan".into(),
            protocol: some("tcp"),
            source: Side { address: some("198.51.100.7"), ..Side::default() },
            destination: wan_port("1600-1700"),
            ..NatRule::default()
        },
    ]
}

fn elsewhere_filter() -> [FilterRule; 1] {
    [FilterRule {
        index: 3,
        quick: true,
        direction: some("in"),
        tracker: some("7"),
        kind: some("block"),
        floating: true,
        interface: some("lan,wan"),
        protocol: some("tcp"),
        source: Side { address: some("friends"), not: true, ..Side::default() },
        destination: Side { any: true, port: some("kms_ports"), ..Side::default() },
        sched: some("office"),
        conditions: vec![("sched", "office".into())],
        ..FilterRule::default()
    }]
}

fn cron_item() -> CronItem {
    let any = || "*".to_owned();
    CronItem {
        minute: "*/60".into(),
        hour: any(),
        mday: any(),
        month: any(),
        wday: any(),
        who: "root".into(),
        command: "/usr/bin/nice -n20 /usr/local/sbin/expiretable -v -t 3600 virusprot".into(),
    }
}
