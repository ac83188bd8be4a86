//! The formats: what becomes of every file, what is refused and how, and that the table of them is documented.

#[path = "../common/damage.rs"]
mod damage;

mod bad_input;
mod case;
mod edx;
mod fixtures;
mod guide;
mod handmade;
mod mooccube;
mod mooccubex;
mod oulad;
mod published;
