//! Words for names: of courses and concepts, in the language of the published files.

/// 64 letters of three bytes.
pub(super) const LETTERS: &str = "天地人文理工学法数史经济管政社会心教育化物生医药电信机械材环农林水土木能源动力计算网软件光声热量子场论方程模型分析结构系统图设字";

const _: () = assert!(LETTERS.len() == 64 * 3);

/// Disciplines.
const FIELDS: &str = "哲学 理论经济学 应用经济学 法学 政治学 社会学 民族学 \
    马克思主义理论 公安学 教育学 心理学 体育学 中国语言文学 外国语言文学 \
    新闻传播学 考古学 历史学 世界史 数学 物理学 化学 \
    天文学 地理学 大气科学 海洋科学 地球物理学 地质学 生物学 \
    系统科学 科学技术史 生态学 统计学 力学 机械工程 光学工程 \
    仪器科学与技术 材料科学与工程 冶金工程 动力工程及工程热物理 电气工程 电子科学与技术 信息与通信工程 \
    控制科学与工程 计算机科学与技术 建筑学 土木工程 水利工程 测绘科学与技术 化学工程与技术 \
    地质资源与地质工程 矿业工程 石油与天然气工程 纺织科学与工程 轻工技术与工程 交通运输工程 船舶与海洋工程 \
    航空宇航科学与技术 兵器科学与技术 核科学与技术 农业工程 林业工程 环境科学与工程 生物医学工程 \
    食品科学与工程 城乡规划学 风景园林学 软件工程 生物工程 安全科学与工程 作物学 \
    园艺学 植物保护 畜牧学 兽医学 林学 基础医学 临床医学 \
    口腔医学 中医学 护理学 管理科学与工程 工商管理";

/// The name of a field.
pub(super) fn field(number: usize) -> String {
    let names: Vec<&str> = FIELDS.split(' ').collect();
    match number / names.len() {
        0 => names[number].into(),
        round => format!("{}{}", names[number % names.len()], round + 1),
    }
}
