//! Whether the service can be reached, from outside and hop by hop. Pure.

pub mod dns;
pub mod doctor;
pub mod external;
pub mod finding;
pub mod kms_bind;
pub mod path;
pub mod whole;
