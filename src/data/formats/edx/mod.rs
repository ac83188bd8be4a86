//! What HarvardX and MITx published of their edX courses: csv files, recognized by their headers.

pub(super) mod person_course;
pub(super) mod report;
