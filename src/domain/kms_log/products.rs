//! Names of products by their GUID, for servers whose own table is too old to know them. Small on purpose: what
//! the image of 2015 prints as `Unknown` and clients still ask for. The GUID stays the identity.
//!
//! The GUIDs are activation IDs: what `SoftwareLicensingProduct.ID` shows on a machine that has one of the KMS client
//! setup keys (GVLKs) Microsoft publishes. Each was compared with public lists that give the ID beside its key or its
//! edition (for Windows also the build: `RS1` is 2016, `RS5` 2019, `FE` 2022, `Ge` 2025).

use super::{Guid, KmsRequest};

const NAMES: [(&str, &str); 25] = [
    ("8c1c5410-9f39-4805-8c9d-63a07706358f", "Windows Server 2016 Standard"),
    ("21c56779-b449-4d20-adfc-eece0e1ad74b", "Windows Server 2016 Datacenter"),
    ("de32eafd-aaee-4662-9444-c1befb41bde2", "Windows Server 2019 Standard"),
    ("34e1ae55-27f8-4950-8877-7a03be5fb181", "Windows Server 2019 Datacenter"),
    ("9bd77860-9b31-4b7b-96ad-2564017315bf", "Windows Server 2022 Standard"),
    ("ef6cfc9f-8c5d-44ac-9aad-de6a2ea0ae03", "Windows Server 2022 Datacenter"),
    ("7dc26449-db21-4e09-ba37-28f2958506a6", "Windows Server 2025 Standard"),
    ("c052f164-cdf6-409a-a0cb-853ba0f0f55a", "Windows Server 2025 Datacenter"),
    ("2de67392-b7a7-462a-b1ca-108dd189f588", "Windows 10 Professional"),
    ("73111121-5638-40f6-bc11-f1d7b0d64300", "Windows 10 Enterprise"),
    ("e0c42288-980c-4788-a014-c080d2e1926e", "Windows 10 Education"),
    ("7b51a46c-0c04-4e8f-9af4-8496cca90d5e", "Windows 10 Enterprise 2015 LTSB"),
    ("2d5a5a60-3040-48bf-beb0-fcd770c20ce0", "Windows 10 Enterprise 2016 LTSB"),
    ("32d2fab3-e4a8-42c2-923b-4bf4fd13e6ee", "Windows Enterprise LTSC 2019/2021/2024"),
    ("d450596f-894d-49e0-966a-fd39ed4c4c64", "Office Professional Plus 2016"),
    ("dedfa23d-6ed1-45a6-85dc-63cae0546de6", "Office Standard 2016"),
    ("85dd8b5f-eaa4-4af3-a628-cce9e77c9a03", "Office Professional Plus 2019"),
    ("6912a74b-a5fb-401a-bfdb-2e3ab46f4b02", "Office Standard 2019"),
    ("fbdb3e18-a8ef-4fb3-9183-dffd60bd0984", "Office LTSC Professional Plus 2021"),
    ("080a45c5-9f9f-49eb-b4b0-c3c610a5ebd3", "Office LTSC Standard 2021"),
    ("8d368fc1-9470-4be2-8d66-90e836cbb051", "Office LTSC Professional Plus 2024"),
    ("bbac904f-6a7e-418a-bb4b-24c85da06187", "Office LTSC Standard 2024"),
    ("2b5a1b0f-a5ab-4c54-ac2f-a6d94824a283", "Windows Server 2016 Essentials"),
    ("034d3cbb-5d4b-4245-b3f8-f84571314078", "Windows Server 2019 Essentials"),
    ("59eb965c-9150-42b7-a0ec-22151b9897c5", "Windows IoT Enterprise LTSC 2021/2024"),
];

pub fn product_name(id: Guid) -> Option<&'static str> {
    NAMES.iter().find(|(text, _)| Guid::parse(text.as_bytes()) == Some(id)).map(|(_, name)| *name)
}

/// Returns what to call the product of a request: the server's name, else this table's, else the application's,
/// else `unknown`.
pub fn display_product(request: &KmsRequest) -> &str {
    let known = || request.product_id.and_then(product_name);
    request
        .product
        .as_deref()
        .or_else(known)
        .or(request.application.as_deref())
        .unwrap_or("unknown")
}

/// Returns the GUID of a product that neither the server nor this table has a name for.
pub fn unnamed_product(request: &KmsRequest) -> Option<Guid> {
    request.product_id.filter(|id| request.product.is_none() && product_name(*id).is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_guid_is_one_and_none_stands_twice() {
        let mut ids: Vec<_> =
            NAMES.iter().map(|(text, _)| Guid::parse(text.as_bytes()).expect(text)).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), NAMES.len());
        assert!(product_name(ids[0]).is_some());
    }
}
