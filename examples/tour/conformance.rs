//! Both products prove that they behave as the contract says.

use halfbyte::conformance::{Conformance, Report};

use crate::Outcome;
use crate::products;
use crate::screen::Screen;

pub async fn show(screen: &mut Screen) -> Outcome {
    screen.step(
        "The proof",
        "Both products run the conformance suite, each as its own test does: with an issuer, a collector and a folder of the\n\
         suite's, by real requests over real sockets, for each clause of CONTRACT.md.",
    );
    let reports = [prove(screen, products::parcel()).await?, prove(screen, products::clinic()).await?];
    let passed: usize = reports.iter().map(|report| report.counts().passed).sum();
    screen.seen(&format!("both conform to {}: {passed} checks passed", reports[0].contract));
    Ok(())
}

async fn prove(screen: &Screen, product: Conformance) -> Outcome<Report> {
    let report = product.run().await;
    screen.say(&format!("{}: {}", report.product, report.counts()));
    for (section, counts) in report.sections() {
        let others = [
            (counts.failed, "failed"),
            (counts.not_applicable, "not applicable"),
            (counts.unseen, "not seen from outside"),
        ];
        let others = others.into_iter().filter(|(count, _)| *count > 0).map(|(count, how)| format!(", {count} {how}"));
        screen.detail(&format!("{section:<20} {:>3} passed{}", counts.passed, others.collect::<String>()));
    }
    if report.is_passed() { Ok(report) } else { Err(report.to_string().into()) }
}
